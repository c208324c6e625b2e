"""`flowerti compare`: two finished runs side by side, as plain text or as JSON.

This module does not know what is compared with what.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowerti.reading.comparison import ArmResult, RunComparison

_MAX_WIDTH = 60
"""Of a cell."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("run_dir", help="run directory: a path, s3://... or gs://...")
    parser.add_argument("other_dir", help="another one")
    parser.add_argument("--any-data", action="store_true", help="compare runs of different data as well")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of tables")


def compare(values: argparse.Namespace) -> int:
    """Print what differs between two finished runs; 0 also where nothing does."""
    from flowerti.reading.comparison import compare_runs
    from flowerti.reading.run import Run

    found = compare_runs(Run(values.run_dir), Run(values.other_dir), any_data=values.any_data)
    if values.json:
        print(json.dumps(dataclasses.asdict(found), indent=1, allow_nan=False))
        return 0
    for line in _lines(found):
        print(line)
    return 0


def _lines(found: "RunComparison") -> Iterator[str]:
    from flowerti.report.formats import duration

    yield f"A: {found.first}"
    yield f"B: {found.second}"
    if not found.same_data:
        yield "the data differ: F1 of A and of B are of different tests, and say nothing about each other"
    elif not found.same_weak_classes:
        yield "the weak classes differ: weak F1 of A and of B are means over other classes"
    for title, differences in (("data", found.data), ("settings", found.settings)):
        rows = [(one.name, _shown(one.first), _shown(one.second)) for one in differences]
        yield from _section(title, rows) if rows else ("", f"{title}: no difference")
    rows = [(_level(pair.arm, pair.ratio), _result(pair.first), _result(pair.second)) for pair in found.arms]
    yield from _section("weak F1 on test", rows)
    rows = [(_level(pair.arm, pair.ratio), _gain(pair.first), _gain(pair.second)) for pair in found.arms]
    yield from _section("change over real only", rows)
    yield "intervals are 95 % and each of its own run: no difference between A and B is tested here"
    rows = [(one.stage, duration(one.first_seconds), duration(one.second_seconds)) for one in found.costs]
    yield from _section("time", rows)
    if any(one.first_gpu_seconds or one.second_gpu_seconds for one in found.costs):
        rows = [(one.stage, duration(one.first_gpu_seconds), duration(one.second_gpu_seconds)) for one in found.costs]
        yield from _section("GPU time", rows)
    yield ""
    for name, action, text in zip("AB", found.verdict, found.recommendation, strict=True):
        yield f"{name} recommends {action['action'] if action else 'nothing'}: {text}"


def _section(title: str, rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """A table with a blank line before it."""
    lines = [(title, "A", "B"), *rows]
    widths = [max(len(row[column]) for row in lines) for column in range(2)]
    yield ""
    for name, first, second in lines:
        yield f"{name:{widths[0]}}  {first:{widths[1]}}  {second}".rstrip()


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MAX_WIDTH else f"{text[: _MAX_WIDTH - 3]}..."


def _level(arm: str, ratio: float) -> str:
    return f"{arm} at {ratio:g}" if ratio else arm


def _result(found: "ArmResult | None") -> str:
    from flowerti.report.formats import fixed

    return f"{fixed(found.weak_f1)} ({fixed(found.low)} to {fixed(found.high)})" if found else fixed(None)


def _gain(found: "ArmResult | None") -> str:
    from flowerti.report.formats import fixed, signed

    if found is None:
        return fixed(None)
    return f"{signed(found.gain)} ({signed(found.gain_low)} to {signed(found.gain_high)})"
