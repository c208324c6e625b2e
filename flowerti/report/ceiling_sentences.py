"""What the ceiling and the worth of images say on the page, from `summary.json`.

This module does not know how anything was computed.
"""

from collections.abc import Mapping
from typing import Any

from flowerti.artifacts.ceiling import Ceiling, CeilingRow, WorthRow
from flowerti.ceiling import answers
from flowerti.report.summary_record import PUBLISHED_NAMES


def told_ceiling(summary: Mapping[str, Any]) -> list[str]:
    """What could be gained at all; empty where it was not asked."""
    found = summary["ceiling"]
    if found is None:
        return []
    return answers.told(Ceiling(**{**found, "rows": [CeilingRow(**row) for row in found["rows"]]}))


def told_worth(summary: Mapping[str, Any]) -> list[str]:
    """What the judged arm's images are worth at the level that is shown; empty where that is not known."""
    shown = {row["ratio"] for row in summary["sweep"] if row["arm"] == summary["judged_arm"] and row["split"] == "test"}
    rows = [row for row in summary["worth"] if row["arm"] == summary["judged_arm"] and row["level"] in shown]
    sources = {row["name"]: row["label"] for row in summary["sources"]}
    arms = {row["name"]: row["source"] for row in summary["arms"]}
    return [answers.told_worth(_record(row), sources[arms[row["arm"]]]) for row in rows if row["split"] == "test"]


def _record(row: Mapping[str, Any]) -> WorthRow:
    names = {key: name for name, key in PUBLISHED_NAMES.items()}
    return WorthRow(**{names.get(key, key): value for key, value in row.items()})
