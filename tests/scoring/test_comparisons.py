"""Comparisons between sources: the pairs of the table, their seeds, and values that agree with the distances."""

import numpy as np
import pytest
from scored_class import features_of, score_pair, value_of

from flowerti.artifacts.identity import seed_for
from flowerti.metrics.nearer import compare_nearness
from flowerti.scoring.comparisons import comparison_pairs
from flowerti.tables.sources import SOURCES, Source


def test_comparisons_set_the_token_against_every_name():
    real = features_of(15, 0, 0)
    sets = {
        "raw": features_of(25, 2, 1),
        "alternative_name": features_of(15, 0.8, 2),
        "token": features_of(18, 0, 3),
    }
    distances, comparisons = score_pair(real, sets)
    assert [(c.closer, c.than) for c in comparisons] == [
        ("alternative_name", "raw"),
        ("token", "raw"),
        ("token", "alternative_name"),
    ]
    for comparison in comparisons:
        closer, than = (value_of(distances, source, "kernel").value for source in (comparison.closer, comparison.than))
        table = than - closer
        assert comparison.difference == pytest.approx(table, rel=1e-9)
    assert comparisons[1].p_value == 1 / 200
    assert {c.extractor for c in comparisons} == {"efficientnet_lite0"}


def test_an_adapter_is_set_against_its_token():
    sets = {"raw": features_of(15, 2, 1), "token": features_of(15, 1, 2), "lora": features_of(15, 0, 3)}
    _, comparisons = score_pair(features_of(15, 0, 0), sets)
    assert [(c.closer, c.than) for c in comparisons] == [("token", "raw"), ("lora", "token")]
    assert comparisons[1].difference > 0
    assert comparisons[1].p_value == 1 / 200


def test_pairs_are_those_of_the_table_of_sources(monkeypatch):
    assert comparison_pairs(["latin_name", "lora", "token", "alternative_name", "raw"]) == [
        ("alternative_name", "raw"),
        ("latin_name", "raw"),
        ("token", "raw"),
        ("token", "alternative_name"),
        ("token", "latin_name"),
        ("lora", "token"),
    ]
    fields = {"colour": "#123456", "words": lambda names: "words"}
    for row in (
        Source(name="sketch", label="sketch", rivals=("lora",), **fields),
        Source(name="nickname", label="nickname", is_name=True, **fields),
    ):
        monkeypatch.setitem(SOURCES._rows, row.name, row)
    # what is judged must hold out against a name that its row has never heard of
    assert comparison_pairs(["sketch", "lora", "nickname", "token"]) == [
        ("token", "nickname"),
        ("lora", "token"),
        ("sketch", "lora"),
    ]


def test_seeds_of_comparisons_are_those_of_the_rows(monkeypatch):
    real, near, far = features_of(12, 0, 0), features_of(9, 0.4, 1), features_of(9, 0.5, 2)
    sketch = Source(
        name="sketch", label="s", colour="#1", words=lambda n: "", rivals=("raw",), comparison_seed="own seed"
    )
    monkeypatch.setitem(SOURCES._rows, "sketch", sketch)
    for closer, than, purpose in (
        ("token", "raw", "exchange/raw"),
        ("lora", "token", "exchange/lora/token"),
        ("latin_name", "raw", "exchange/latin_name/raw"),
        ("sketch", "raw", "own seed/raw"),
    ):
        (comparison,) = score_pair(real[:9], {closer: near, than: far}, seed=5)[1]
        rng = np.random.default_rng(seed_for(5, "ball moss", f"scoring/{purpose}", 0))
        # sets of one size are not cut, but shuffled and sorted again: the same rows in the same order
        found = compare_nearness(real[:9], near, far, 199, rng)
        assert (comparison.difference, comparison.p_value) == (found.difference, found.p_value)
        assert (comparison.low, comparison.high) == (found.low, found.high)


def test_a_source_that_lies_nearer_than_the_token_gives_a_large_p_value():
    sets = {"raw": features_of(15, 0, 1), "token": features_of(15, 2, 2)}
    (comparison,) = score_pair(features_of(15, 0, 0), sets)[1]
    assert comparison.difference < 0
    assert comparison.p_value == 1.0


def test_without_a_token_there_is_nothing_to_compare():
    distances, comparisons = score_pair(features_of(8, 0, 0), {"raw": features_of(8, 0, 1)})
    assert {d.source for d in distances} == {"raw"}
    assert comparisons == []


def test_names_are_compared_without_a_token():
    sets = {"raw": features_of(8, 0, 1), "alternative_name": features_of(8, 0, 2)}
    (comparison,) = score_pair(features_of(8, 0, 0), sets)[1]
    assert (comparison.closer, comparison.than) == ("alternative_name", "raw")


def test_too_few_images_for_a_verdict_leave_the_difference():
    sets = {"raw": features_of(3, 2, 1), "token": features_of(9, 0, 2)}
    (comparison,) = score_pair(features_of(8, 0, 0), sets)[1]
    assert comparison.difference > 0
    assert (comparison.p_value, comparison.low, comparison.high) == (None, None, None)
