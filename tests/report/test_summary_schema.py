"""The schema refuses a summary that lacks anything, or holds what does not belong."""

import json

import pytest
from finished_run import run
from finished_scores import FOURTEEN, near_duplicate, scores
from finished_sweep import arm_costs, sweep

from flowerti.report import Findings, build_summary, validate_summary
from flowerti.report.summary_schema import completed


def whole_summary():
    given = scores(FOURTEEN[:3])
    given.near_duplicates.append(near_duplicate())
    given.copies[0].copies.append(given.copies[0].closest[0])
    return build_summary(Findings(**run(scores=given, arm_costs=arm_costs(sweep(), "GPU-hour"))))


SUMMARY = json.dumps(whole_summary())
ROWS = [
    key
    for key, value in json.loads(SUMMARY).items()
    if isinstance(value, list) and value and isinstance(value[0], dict)
]


def test_the_kinds_of_rows_are_found():
    assert len(ROWS) == 29
    assert {"distances", "matrix", "recognition", "copies", "near_duplicates", "verdicts", "extractors"} <= set(ROWS)


@pytest.mark.parametrize("key", sorted(json.loads(SUMMARY)))
def test_a_missing_key_is_named(key):
    summary = json.loads(SUMMARY)
    del summary[key]
    with pytest.raises(ValueError, match=key):
        validate_summary(summary)


@pytest.mark.parametrize("key", ROWS)
def test_a_missing_field_is_named_in_every_kind_of_row(key):
    for field in json.loads(SUMMARY)[key][0]:
        summary = json.loads(SUMMARY)
        del summary[key][0][field]
        with pytest.raises(ValueError, match=field):
            validate_summary(summary)


@pytest.mark.parametrize("which", ["copies", "closest"])
def test_a_missing_field_of_a_pair_is_named(which):
    for field in json.loads(SUMMARY)["copies"][0][which][0]:
        summary = json.loads(SUMMARY)
        del summary["copies"][0][which][0][field]
        with pytest.raises(ValueError, match=field):
            validate_summary(summary)


def changed(key, **fields):
    return {key: [json.loads(SUMMARY)[key][0] | fields]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recommended_ratio": -1.0}, "recommended_ratio"),
        ({"recommended_ratio": None}, "recommended_ratio"),
        ({"recommended_ratio": "2"}, "recommended_ratio"),
        ({"recommendation": ""}, "recommendation"),
        ({"duplicates": [["only one"]]}, "duplicates"),
        ({"seed": float("nan")}, "not strict JSON"),
        ({"versions": {"torch": 2}}, "versions"),
        ({"class_names": [1]}, "class_names"),
        (changed("distances", reference="train"), "reference"),
        (changed("distances", extractor=""), "extractor"),
        (changed("sweep", weak_f1=1.2), "weak_f1"),
        (changed("recognition", share=-0.1), "share"),
        (changed("matrix", rank=0), "rank"),
        (changed("verdicts", verdict="maybe"), "verdict"),
        (changed("near_duplicates", first_split="all"), "first_split"),
    ],
)
def test_wrong_values_are_named(change, named):
    with pytest.raises(ValueError, match=named):
        validate_summary(json.loads(SUMMARY) | change)


@pytest.mark.parametrize("found", ["flowerti-summary-1", "flowerti-summary-9", 2])
def test_a_summary_of_another_version_says_so(found):
    with pytest.raises(ValueError, match="run the experiment again"):
        validate_summary(json.loads(SUMMARY) | {"format": found})


def test_what_later_versions_add_to_a_row_is_let_through():
    validate_summary(json.loads(SUMMARY) | changed("sweep", weak_gain_holm_p=0.02))


def test_a_summary_from_before_an_addition_is_completed_and_what_it_says_stays():
    summary = build_summary(Findings(**run()))
    old = {key: value for key, value in summary.items() if key not in ("filters", "filter_judges")}
    added = ("features", "labels", "round_trips", "begins_balanced", "held_against")
    old["arms"] = [{key: value for key, value in arm.items() if key not in added} for arm in summary["arms"]]
    with pytest.raises(ValueError, match="required property"):
        validate_summary(old)
    validate_summary(completed(old))
    assert completed(summary) == summary
    assert completed(old) | {"arms": None} == summary | {"arms": None}
    assert completed({"arms": 3})["arms"] == 3
