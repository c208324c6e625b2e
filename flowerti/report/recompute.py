"""Every interval of a published sweep again: `python -m flowerti.report.recompute RUN_DIR` prints one JSON object.

It reads `summary.json` and `sweep/predictions.parquet`, nothing else, and needs neither images nor a cluster. The exit
code is 1 where a number differs from what was published. This module does not know how a trial is trained.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from flowerti.artifacts import layout
from flowerti.artifacts.records import SweepRow
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.sweep import SweepClassRow, SweepContrast, SweepGroupRow
from flowerti.report.summary_record import PUBLISHED_NAMES
from flowerti.sweep.predictions import Predictions, read_predictions
from flowerti.sweep.rounds import Cell
from flowerti.sweep.statistics import SweepAnalysis
from flowerti.tables import Table
from flowerti.tables.arms import Arm

TOLERANCE = 1e-9
"""Between processors sums may differ in their last digits."""

Row = dict[str, Any]


def recompute(run: RunDirectory, published: Row) -> dict[str, list[Row]]:
    """The rows of arms, classes, groups and contrasts of a summary, computed anew from the predictions.

    Returns:
        Rows by their key in `summary.json`, in its order.

    Raises:
        ValueError: a file is missing or damaged; names it.
    """
    predictions = read_predictions(run)
    arms = Table("arm of this sweep", [Arm(**row) for row in published["arms"]])
    analyses = [_analysis(predictions, arms, split) for split in ("validation", "test") if predictions.of(split)]
    contrasts = [_contrast(analyses, arms, row) for row in published["contrasts"]]
    return {
        "learning_rate_factors": [predictions.factors()],
        "sweep": [_as_published(row) for one in analyses for row in one.rows()],
        "sweep_classes": [_as_published(row) for one in analyses for row in one.class_rows()],
        "sweep_groups": [_as_published(row) for one in analyses for row in one.group_rows()],
        "contrasts": contrasts,
    }


def _as_published(row: SweepRow | SweepClassRow | SweepGroupRow | SweepContrast) -> Row:
    return {PUBLISHED_NAMES.get(key, key): value for key, value in dataclasses.asdict(row).items()}


def read_summary(run: RunDirectory) -> Row:
    """The published summary.

    Raises:
        ValueError: there is none.
    """
    if not run.exists(layout.SUMMARY):
        raise ValueError(f"{run.uri}/{layout.SUMMARY} is missing: name the folder of a finished run")
    return run.read_json(layout.SUMMARY)


def _analysis(predictions: Predictions, arms: Table[Arm], split: str) -> SweepAnalysis:
    return SweepAnalysis(predictions.of(split), arms, predictions.true_ids[split], predictions.question)


def _contrast(analyses: Sequence[SweepAnalysis], arms: Table[Arm], row: Row) -> Row:
    (analysis,) = (one for one in analyses if one.split == row["split"])
    cell, against = Cell(arms[row["arm"]], row["ratio"]), Cell(arms[row["against_arm"]], row["against_ratio"])
    return _as_published(analysis.contrast(cell, against, primary=row["primary"]))


def differences(published: Row, found: dict[str, list[Row]]) -> list[str]:
    """What differs from the published rows: one line for each number, or for a table of another length."""
    told = []
    for name, rows in found.items():
        expected = published[name] if isinstance(published[name], list) else [published[name]]
        if len(rows) != len(expected):
            told.append(f"{name}: {len(expected)} rows were published, {len(rows)} found")
            continue
        for place, (row, before) in enumerate(zip(rows, expected, strict=True)):
            told += [
                f"{name}[{place}].{key}: {before[key]} was published, {row[key]} found"
                for key in row
                if not _same(before[key], row[key])
            ]
    return told


def _same(published: object, found: object) -> bool:
    if isinstance(found, float) and isinstance(published, int | float):
        return abs(found - published) <= TOLERANCE
    return published == found


def main(arguments: Sequence[str]) -> int:
    """Print what was found and what differs; 1 where something does."""
    if len(arguments) != 1:
        print("usage: python -m flowerti.report.recompute RUN_DIR", file=sys.stderr)
        return 2
    run = RunDirectory(arguments[0])
    try:
        published = read_summary(run)
        found = recompute(run, published)
        told = differences(published, found)
    except ValueError as error:
        print(f"recompute: {error}", file=sys.stderr)
        return 2
    print(json.dumps({**found, "different": told}, indent=1, allow_nan=False))
    return 1 if told else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
