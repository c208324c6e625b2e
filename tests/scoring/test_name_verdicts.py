"""Verdicts on names: each rule with its neighbouring cases, and that only the right comparisons count."""

import dataclasses
import itertools

import pytest

from flowerti.artifacts.scores import Comparison
from flowerti.scoring.name_verdicts import name_verdict
from flowerti.tables.sources import SOURCES, Source

NEARER, FARTHER, OPEN = (0.1, 0.3), (-0.3, -0.1), (-0.1, 0.2)


def _comparison(closer, than, interval, **changed):
    low, high = interval
    middle = 0.0 if low is None else (low + high) / 2
    fields = {"class_name": "ball moss", "metric": "kernel", "p_value": 0.5, "reference": "validation"} | changed
    return Comparison(closer=closer, than=than, difference=middle, low=low, high=high, **fields)


def _verdict(to_class_name=None, to_other_name=None, between_names=None):
    given = {
        ("token", "raw"): to_class_name,
        ("token", "alternative_name"): to_other_name,
        ("alternative_name", "raw"): between_names,
    }
    comparisons = [_comparison(*pair, interval) for pair, interval in given.items() if interval is not None]
    return name_verdict("ball moss", comparisons, "validation")


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ((NEARER,), "token"),
        ((OPEN,), "undecided"),
        ((FARTHER,), "class_name_is_enough"),
        (((-0.2, 0.0),), "class_name_is_enough"),
        (((0.0, 0.2),), "undecided"),
        ((NEARER, NEARER, NEARER), "token"),
        ((NEARER, NEARER, FARTHER), "token"),
        ((NEARER, OPEN, NEARER), "better_name_is_enough"),
        ((NEARER, FARTHER, NEARER), "better_name_is_enough"),
        ((OPEN, OPEN, NEARER), "better_name_is_enough"),
        ((FARTHER, FARTHER, NEARER), "better_name_is_enough"),
        ((NEARER, OPEN, OPEN), "undecided"),
        ((OPEN, NEARER, OPEN), "undecided"),
        ((FARTHER, NEARER, FARTHER), "class_name_is_enough"),
        ((FARTHER, OPEN, OPEN), "class_name_is_enough"),
        ((NEARER, None, NEARER), "undecided"),
        ((None, NEARER, NEARER), "undecided"),
        ((NEARER, (None, None), NEARER), "undecided"),
        (((None, None),), "undecided"),
        ((), "undecided"),
    ],
)
def test_the_rules(given, verdict):
    assert _verdict(*given).verdict == verdict


def test_a_token_is_never_called_for_without_evidence_against_every_name():
    for given in itertools.product((NEARER, OPEN, FARTHER), repeat=3):
        found = _verdict(*given).verdict
        assert (found == "token") == (given[:2] == (NEARER, NEARER))
        assert found != "better_name_is_enough" or given[2] == NEARER


@pytest.mark.parametrize(
    ("to_latin", "latin_to_class_name", "verdict"),
    [
        (NEARER, NEARER, "token"),
        (OPEN, NEARER, "better_name_is_enough"),
        (OPEN, OPEN, "undecided"),
        (None, OPEN, "undecided"),
    ],
)
def test_every_name_that_was_tried_counts(to_latin, latin_to_class_name, verdict):
    given = {
        ("token", "raw"): NEARER,
        ("token", "alternative_name"): NEARER,
        ("alternative_name", "raw"): NEARER,
        ("token", "latin_name"): to_latin,
        ("latin_name", "raw"): latin_to_class_name,
    }
    comparisons = [_comparison(*pair, interval) for pair, interval in given.items() if interval is not None]
    assert name_verdict("ball moss", comparisons, "validation").verdict == verdict


def test_a_name_from_outside_counts_like_the_others(monkeypatch):
    nickname = Source(name="nickname", label="nickname", colour="#123456", words=lambda names: "", is_name=True)
    monkeypatch.setitem(SOURCES._rows, "nickname", nickname)
    beaten = [_comparison("token", "raw", NEARER), _comparison("token", "nickname", NEARER)]
    assert name_verdict("ball moss", beaten, "validation").verdict == "token"
    as_good = [_comparison("token", "raw", NEARER), _comparison("token", "nickname", OPEN)]
    found = name_verdict("ball moss", as_good, "validation")
    assert found.verdict == "undecided"
    assert "learnt token nearer than nickname" in found.reason
    better = [*as_good, _comparison("nickname", "raw", NEARER)]
    assert name_verdict("ball moss", better, "validation").verdict == "better_name_is_enough"


def test_the_reason_is_one_sentence_with_the_numbers():
    found = _verdict((0.1, 0.3), (-0.1, 0.2), (0.25, 0.75))
    assert found.reason == (
        "Another name lies nearer to the real images than the class name, and the learnt token is not shown to be "
        "nearer than it: learnt token nearer than class name by 0.2 (95 % interval 0.1 to 0.3); learnt token nearer "
        "than other name by 0.05 (95 % interval -0.1 to 0.2); other name nearer than class name by 0.5 "
        "(95 % interval 0.25 to 0.75)."
    )
    assert (found.class_name, found.reference) == ("ball moss", "validation")
    assert _verdict().reason == "There is no comparison of a learnt token with a name."
    assert "(no interval)" in _verdict((None, None)).reason


@pytest.mark.parametrize("changed", [{"class_name": "rose"}, {"metric": "frechet"}, {"reference": "test"}])
def test_other_classes_metrics_and_splits_do_not_count(changed):
    other = _comparison("token", "raw", FARTHER, **changed)
    own = _comparison("token", "raw", NEARER)
    assert name_verdict("ball moss", [other, own], "validation").verdict == "token"
    assert name_verdict("ball moss", [other], "validation").verdict == "undecided"


def test_two_extractors_at_once_are_refused():
    own = _comparison("token", "raw", NEARER)
    with pytest.raises(ValueError, match="class 'ball moss': token is compared with raw twice"):
        name_verdict("ball moss", [own, dataclasses.replace(own, extractor="clip")], "validation")
