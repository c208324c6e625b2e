"""summary.json: the promised keys, every record of scoring, and strict JSON whatever the stages return."""

import dataclasses
import json
import math

import numpy as np
import pytest
from finished_run import run
from finished_scores import EMPTY_SCORES, FOURTEEN, near_duplicate, pair, scores
from finished_sweep import arm_costs, contrasts, sweep

from flowerti.artifacts.scores import Scores
from flowerti.report import Findings, build_summary, validate_summary


def test_summary_holds_the_contract_of_the_design():
    summary = build_summary(Findings(**run()))
    validate_summary(summary)
    rows = {
        "selected": "class_name num_train f1_validation reason",
        "distances": "class_name source extractor metric value num_real num_synthetic floor p_value",
        "neighbours": "class_name vector token cosine",
        "sweep": "arm ratio num_repetitions macro_f1 macro_f1_low macro_f1_high weak_f1 weak_f1_low weak_f1_high "
        "rest_f1",
        "timings": "stage seconds gpu_seconds",
    }
    assert {"format", "seed", "versions", "recommended_ratio", "recommendation"} <= set(summary)
    for key, fields in rows.items():
        assert summary[key]
        assert all(set(fields.split()) <= set(row) for row in summary[key])
    assert (summary["recommended_ratio"], len(summary["distances"]), len(summary["neighbours"])) == (2.0, 96, 18)
    assert summary["num_pictures"] == {"train": sum(100 - i for i in range(14)), "validation": 350, "test": 560}
    assert summary["failures"] == summary["left_out"] == []


def _as_published(record):
    """The record with the three keys that summary.json has had from the start."""
    text = json.dumps(dataclasses.asdict(record))
    for name, key in (("floor_num_images", "floor_num_pictures"), ("num_images", "num_pictures"), ("image", "picture")):
        text = text.replace(f'"{name}":', f'"{key}":')
    return json.loads(text)


def test_every_record_of_scoring_is_in_the_summary():
    usual = scores(FOURTEEN[:3])
    check = dataclasses.replace(
        usual.copies[0], copies=[pair(i) for i in range(300)], closest=[pair(i) for i in range(500)]
    )
    given = dataclasses.replace(
        usual, copies=[check], near_duplicates=[near_duplicate(i) for i in range(200)], notes=["One thing is missing."]
    )
    summary = build_summary(Findings(**run(scores=given)))
    validate_summary(summary)
    for field in dataclasses.fields(Scores):
        key = "scoring_notes" if field.name == "notes" else field.name
        expected = [_as_published(r) if dataclasses.is_dataclass(r) else r for r in getattr(given, field.name)]
        assert summary[key] == expected, key
        assert expected, f"{key}: an empty list shows nothing"


def test_a_run_without_scores_still_makes_a_summary():
    summary = build_summary(Findings(**run(scores=EMPTY_SCORES, sets=[])))
    validate_summary(summary)
    assert summary["distances"] == summary["verdicts"] == summary["matrix"] == []


def test_numbers_that_are_not_finite_become_null_and_are_named():
    table, usual = sweep(), scores(FOURTEEN[:3])
    table.rows[1] = dataclasses.replace(table.rows[1], weak_gain=math.nan, weak_gain_p=math.inf)
    usual.matrix[0].values[5] = math.nan
    summary = build_summary(Findings(**run(sweep=table, scores=usual)))
    validate_summary(summary)
    assert summary["sweep"][1]["weak_gain"] is summary["sweep"][1]["weak_gain_p"] is None
    assert summary["matrix"][0]["values"][5] is None
    assert [failure["reason"] for failure in summary["failures"]] == [
        "matrix[0].values[5] is not a finite number",
        "sweep[1].weak_gain is not a finite number",
        "sweep[1].weak_gain_p is not a finite number",
    ]


def test_numpy_numbers_are_written_as_plain_ones():
    row = sweep().rows[0]
    for name, value in (("num_repetitions", np.int64(3)), ("rest_f1", np.float32(0.5))):
        object.__setattr__(row, name, value)  # A stage may let one slip through; the tests' type check would not.
    summary = build_summary(Findings(**run(sweep=dataclasses.replace(sweep(), rows=[row]))))
    assert json.loads(json.dumps(summary))["sweep"][0]["rest_f1"] == 0.5


def test_a_value_that_is_no_json_is_refused_by_its_place():
    row = sweep().rows[0]
    object.__setattr__(row, "rest_f1", b"0.5")
    with pytest.raises(ValueError, match=r"sweep\[0\]\.rest_f1 is a bytes"):
        build_summary(Findings(**run(sweep=dataclasses.replace(sweep(), rows=[row]))))


def test_ratio_zero_still_reports_what_the_test_split_said():
    parts = run(sweep=sweep(recommended_ratio=0.0))
    assert "tried to check the refusal: +0.090" in build_summary(Findings(**parts))["primary_contrast"]


def test_what_the_images_cost_is_in_the_summary():
    given = arm_costs(sweep(), "CPU-hour")
    summary = build_summary(Findings(**run(arm_costs=given)))
    validate_summary(summary)
    assert summary["arm_costs"] == [dataclasses.asdict(cost) for cost in given]
    free = [row for row in summary["arm_costs"] if row["arm"] == "balanced"]
    assert free
    assert all(row["gain_per_hour"] is None for row in free)
    assert summary["failures"] == [], "no cost is no failure"


def test_a_contrast_that_was_not_measured_is_not_made_up():
    summary = build_summary(Findings(**run(sweep=dataclasses.replace(sweep(), contrasts=contrasts()[2:]))))
    assert "not measured" in summary["primary_contrast"]
