"""What differs between two finished runs: settings, data, results on test and costs.

The numbers are those of the two summaries. An interval is of its own run: nothing here tests whether two runs differ.
This module does not know how it is shown.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flowerti.reading.run import Run

_ABSENT = "not set"
"""In place of a setting that one run's settings do not have, as those of a technique from a plugin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One thing that both runs have, and not alike."""

    name: str
    first: Any
    second: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmResult:
    """Mean F1 of the weak classes under an arm on the test split; in [0, 1], with its 95 % interval."""

    weak_f1: float
    low: float
    high: float
    gain: float
    """Over real images alone, in the same run."""
    gain_low: float
    gain_high: float
    num_repetitions: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmPair:
    """An arm at a level in both runs; None where a run did not train it for the test split."""

    arm: str
    ratio: float
    first: ArmResult | None
    second: ArmResult | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CostPair:
    """What a stage took when it last did its work; None where it did none that is known."""

    stage: str
    first_seconds: float | None
    second_seconds: float | None
    first_gpu_seconds: float | None
    second_gpu_seconds: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunComparison:
    """Two runs side by side."""

    first: str
    second: str
    same_data: bool
    """The same images with the same classes in the same splits."""
    same_weak_classes: bool
    """Otherwise the weak F1 of the two are means over other classes."""
    data: list[Difference]
    settings: list[Difference]
    recommendation: tuple[str, str]
    verdict: tuple[dict[str, Any] | None, dict[str, Any] | None]
    arms: list[ArmPair]
    costs: list[CostPair]


def compare_runs(first: Run, second: Run, *, any_data: bool = False) -> RunComparison:
    """Hold two finished runs side by side.

    Args:
        first: a run.
        second: another one.
        any_data: compare them also where they have other images, or other splits of the same ones.

    Raises:
        ValueError: a run is not finished, or they are of different data and `any_data` is off.
    """
    one, other = first.summary, second.summary
    same_data = one["data_fingerprint"] == other["data_fingerprint"]
    if not (same_data or any_data):
        raise ValueError(
            f"{first.uri} and {second.uri} are of different data (other images, classes or splits), so that their F1 "
            "are of different tests: compare runs of the same data, or add --any-data"
        )
    weak = [[chosen["class_name"] for chosen in summary["selected"]] for summary in (one, other)]
    return RunComparison(
        first=first.uri,
        second=second.uri,
        same_data=same_data,
        same_weak_classes=same_data and set(weak[0]) == set(weak[1]),
        data=_differences(_data_of(one), _data_of(other)),
        settings=_differences(_settings_of(first), _settings_of(second)),
        recommendation=(one["recommendation"], other["recommendation"]),
        verdict=(one["verdict"], other["verdict"]),
        arms=_arms(one, other),
        costs=_costs(one, other),
    )


def _data_of(summary: dict[str, Any]) -> dict[str, Any]:
    """What a summary says of its data and of the base, by plain names."""
    return {
        "fingerprint": summary["data_fingerprint"],
        **{f"{split} images": num for split, num in summary["num_pictures"].items()},
        "classes": len(summary["class_names"]),
        "weak classes": ", ".join(chosen["class_name"] for chosen in summary["selected"]),
        "content of the base": summary["base"]["sha256"],
    }


def _settings_of(run: Run) -> dict[str, Any]:
    return dict(_flat(dataclasses.asdict(run.settings), ""))


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Single settings, named as options name them."""
    if not isinstance(value, dict):
        yield name, list(value) if isinstance(value, tuple) else value
        return
    for key, inner in value.items():
        # on the command line, techniques stand without this prefix
        yield from _flat(inner, key if name in ("", "techniques") else f"{name}.{key}")


def _differences(first: dict[str, Any], second: dict[str, Any]) -> list[Difference]:
    pairs = {name: (first.get(name, _ABSENT), second.get(name, _ABSENT)) for name in {**first, **second}}
    return [Difference(name=name, first=one, second=other) for name, (one, other) in pairs.items() if one != other]


def _arms(first: dict[str, Any], second: dict[str, Any]) -> list[ArmPair]:
    """All arms that either run trained for the test split, those of the first run first."""
    one, other = _on_test(first), _on_test(second)
    return [
        ArmPair(arm=arm, ratio=ratio, first=one.get((arm, ratio)), second=other.get((arm, ratio)))
        for arm, ratio in {**one, **other}
    ]


def _on_test(summary: dict[str, Any]) -> dict[tuple[str, float], ArmResult]:
    return {
        (row["arm"], row["ratio"]): ArmResult(
            weak_f1=row["weak_f1"],
            low=row["weak_f1_low"],
            high=row["weak_f1_high"],
            gain=row["weak_gain"],
            gain_low=row["weak_gain_low"],
            gain_high=row["weak_gain_high"],
            num_repetitions=row["num_repetitions"],
        )
        for row in summary["sweep"]
        if row["split"] == "test"
    }


def _costs(first: dict[str, Any], second: dict[str, Any]) -> list[CostPair]:
    """The stages of both runs, and all of them together at the end."""
    one, other = ({row["stage"]: row for row in summary["timings"]} for summary in (first, second))
    rows = [_cost(stage, one.get(stage), other.get(stage)) for stage in {**one, **other}]
    return [*rows, _cost("all", _total(one), _total(other))]


def _cost(stage: str, first: dict[str, Any] | None, second: dict[str, Any] | None) -> CostPair:
    return CostPair(
        stage=stage,
        first_seconds=first["seconds"] if first else None,
        second_seconds=second["seconds"] if second else None,
        first_gpu_seconds=first["gpu_seconds"] if first else None,
        second_gpu_seconds=second["gpu_seconds"] if second else None,
    )


def _total(timings: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    if not timings:
        return None
    return {name: sum(row[name] for row in timings.values()) for name in ("seconds", "gpu_seconds")}
