"""Kept summaries against themselves: p-values and intervals that come from one comparison agree."""

import json
from pathlib import Path

import pytest

SUMMARIES = sorted((Path(__file__).parents[1] / "results").glob("*/summary.json"))


def named(row):
    keys = ("class_name", "source", "closer", "than", "metric", "extractor", "reference")
    return " / ".join(str(row[key]) for key in keys if key in row)


def test_there_are_kept_summaries():
    assert len(SUMMARIES) >= 3


@pytest.mark.parametrize("path", SUMMARIES, ids=lambda path: path.parent.name)
def test_p_and_interval_of_nearer_never_contradict_each_other(path):
    contradictions = []
    for row in json.loads(path.read_text(encoding="utf-8"))["comparisons"]:
        p, low, high = row["p_value"], row["low"], row["high"]
        assert (p is None) == (low is None) == (high is None), named(row)
        if p is not None and ((p < 0.025) != (low > 0) or (high < 0 and p < 0.5)):
            contradictions.append(f"{named(row)}: p {p:.4f}, {low:.3f} to {high:.3f}")
    assert contradictions == []


@pytest.mark.parametrize("path", SUMMARIES, ids=lambda path: path.parent.name)
def test_no_distance_above_0_is_called_the_same_distribution(path):
    for row in json.loads(path.read_text(encoding="utf-8"))["distances"]:
        if row["p_value"] is not None and row["low"] is not None and row["low"] > 0:
            assert row["p_value"] < 0.025, named(row)
