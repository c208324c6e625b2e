"""Kept summaries against themselves: p-values and intervals that come from one comparison agree."""

import json
from pathlib import Path
from typing import Any

import pytest

from flowerti.report.summary_record import FORMAT

RESULTS = Path(__file__).parents[1] / "results"
SUMMARIES = {path.parent.name: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*/summary.json")}
PRESENT = sorted(SUMMARIES)


def named(row: dict[str, Any]) -> str:
    keys = ("class_name", "source", "arm", "ratio", "closer", "than", "against_arm", "metric", "split", "reference")
    return " / ".join(str(row[key]) for key in keys if key in row)


def disagree(p: float | None, low: float | None, high: float | None) -> bool:
    """Whether a one-sided p-value and a 95 % interval contradict each other, or one of them is missing."""
    if p is None or low is None or high is None:
        return not p is low is high is None
    return (p < 0.025) != (low > 0) or (high < 0 and p < 0.5)


def test_all_are_of_the_present_format():
    assert PRESENT == ["demo", "flowers102-64", "flowers102-64-few-2", "flowers102-64-long-tail"]
    assert {summary["format"] for summary in SUMMARIES.values()} == {FORMAT}


@pytest.mark.parametrize("name", PRESENT)
def test_p_and_interval_of_nearer_never_contradict_each_other(name: str):
    rows = SUMMARIES[name]["comparisons"]
    assert [named(row) for row in rows if disagree(row["p_value"], row["low"], row["high"])] == []


@pytest.mark.parametrize("name", PRESENT)
def test_no_distance_above_0_is_called_the_same_distribution(name: str):
    for row in SUMMARIES[name]["distances"]:
        if row["p_value"] is not None and row["low"] is not None and row["low"] > 0:
            assert row["p_value"] < 0.025, named(row)


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.parametrize(
    ("table", "p", "ends"),
    [
        ("sweep", "weak_gain_p", "weak_gain"),
        ("sweep", "content_gain_p", "content_gain"),
        ("sweep_classes", "gain_p", "gain"),
        ("contrasts", "p", ""),
    ],
)
def test_p_and_interval_of_the_sweep_never_contradict_each_other(name: str, table: str, p: str, ends: str):
    low, high = (f"{ends}_{end}" if ends else end for end in ("low", "high"))
    rows = [row for row in SUMMARIES[name][table] if row.get("arm") != "real"]
    assert rows
    assert [named(row) for row in rows if disagree(row[p], row[low], row[high])] == []
