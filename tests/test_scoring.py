"""Scoring of one class: matched sizes, floors, comparisons that agree with the table, and errors by name."""

import dataclasses

import numpy as np
import pytest

from flowerti import metrics, scoring
from flowerti.config import ScoringConfig

CONFIG = ScoringConfig(num_permutations=199, num_floor_splits=5)


def _features(num, shift, seed, dim=6):
    return np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32) + np.float32(shift)


def _score(real, synthetic, seed=0, class_name="ball moss"):
    return scoring.score_class(class_name, real, synthetic, "efficientnet_lite0", CONFIG, seed)


def _value(distances, source, metric):
    (found,) = [d for d in distances if (d.source, d.metric) == (source, metric)]
    return found


def test_kernel_distance_uses_sets_of_equal_size_whole():
    real, raw, token = (_features(12, shift, i) for i, shift in enumerate((0, 1, 0.3)))
    distances, _ = _score(real, {"raw": raw, "token": token})
    assert len(distances) == 4
    for source, features in (("raw", raw), ("token", token)):
        kernel = _value(distances, source, "kernel")
        assert kernel.value == pytest.approx(metrics.kernel_distance(features, real), rel=1e-9)
        assert kernel.p_value is not None
        assert 1 / 200 <= kernel.p_value <= 1
        assert _value(distances, source, "frechet").p_value is None


def test_kernel_distance_cuts_all_sets_to_the_smallest_without_repeating_a_picture(monkeypatch):
    sets = {name: _features(n, i, i) for i, (name, n) in enumerate([("raw", 30), ("token", 9)])}
    real, seen = _features(20, 0, 5), []

    def record(x, y):
        seen.append((x, y))
        return 0.0

    monkeypatch.setattr(metrics, "kernel_distance", record)
    distances, _ = _score(real, sets)
    assert {(d.num_real, d.num_synthetic) for d in distances if d.metric == "kernel"} == {(9, 9)}
    pairs = seen[CONFIG.num_floor_splits :]
    for (x, y), name in zip(pairs, sets, strict=True):
        for subset, whole in ((x, real), (y, sets[name])):
            rows = {tuple(row) for row in subset.tolist()}
            assert len(rows) == 9
            assert rows <= {tuple(row) for row in whole.tolist()}


@pytest.mark.parametrize(("num_real", "num_synthetic", "size"), [(21, 30, 10), (21, 8, 8), (16, 16, 8)])
def test_frechet_distance_is_taken_at_the_size_of_its_floor(num_real, num_synthetic, size):
    distances, _ = _score(_features(num_real, 0, 0), {"token": _features(num_synthetic, 0, 1)})
    found = _value(distances, "token", "frechet")
    assert (found.num_real, found.num_synthetic, found.floor_num_pictures) == (size, size, size)


def test_frechet_distance_of_the_same_distribution_lies_at_its_floor():
    differences = []
    for seed in range(30):
        distances, _ = _score(_features(24, 0, 2 * seed), {"token": _features(24, 0, 2 * seed + 1)}, seed)
        found = _value(distances, "token", "frechet")
        differences.append(found.value / found.floor - 1)
    # the bias is the same on both sides, so it cancels: without equal sizes the mean is off by tens of per cent
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(len(differences)) + 0.01


def test_a_shifted_set_lies_far_above_both_floors():
    distances, _ = _score(_features(21, 0, 0), {"token": _features(21, 2, 1)})
    for metric in ("frechet", "kernel"):
        found = _value(distances, "token", metric)
        assert found.value > 3 * abs(found.floor)


def test_kernel_floor_does_not_depend_on_the_sources():
    real = _features(16, 0, 0)
    one, _ = _score(real, {"token": _features(16, 0, 1)})
    two, _ = _score(real, {"raw": _features(9, 0, 2), "token": _features(16, 0, 1)})
    assert _value(one, "token", "kernel").floor == _value(two, "token", "kernel").floor


def test_comparisons_set_the_token_against_every_other_source():
    real = _features(15, 0, 0)
    sets = {
        "raw": _features(25, 2, 1),
        "alternative_name": _features(15, 0.8, 2),
        "token": _features(18, 0, 3),
    }
    distances, comparisons = _score(real, sets)
    assert [(c.closer, c.than) for c in comparisons] == [
        ("token", "raw"),
        ("token", "alternative_name"),
    ]
    for comparison in comparisons:
        table = _value(distances, comparison.than, "kernel").value - _value(distances, "token", "kernel").value
        assert comparison.difference == pytest.approx(table, rel=1e-9)
    assert comparisons[0].p_value == 1 / 200


def test_a_source_that_lies_nearer_than_the_token_gives_a_large_p_value():
    sets = {"raw": _features(15, 0, 1), "token": _features(15, 2, 2)}
    (comparison,) = _score(_features(15, 0, 0), sets)[1]
    assert comparison.difference < 0
    assert comparison.p_value == 1.0


def test_without_a_token_there_is_nothing_to_compare():
    distances, comparisons = _score(_features(8, 0, 0), {"raw": _features(8, 0, 1)})
    assert len(distances) == 2
    assert comparisons == []


def test_the_seed_decides_and_the_order_of_sources_does_not():
    real = _features(20, 0, 0)
    raw, token = _features(12, 1, 1), _features(15, 0, 2)
    first, _ = _score(real, {"raw": raw, "token": token})
    again, _ = _score(real, {"token": token, "raw": raw})
    other, _ = _score(real, {"raw": raw, "token": token}, seed=1)

    def table(distances):
        return {(d.source, d.metric): dataclasses.astuple(d) for d in distances}

    assert table(first) == table(again)
    assert _value(first, "token", "frechet").value != _value(other, "token", "frechet").value


NAN = np.full((6, 6), np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("real", "synthetic", "message"),
    [
        (_features(3, 0, 0), {"token": _features(6, 0, 1)}, "3 held-out real"),
        (_features(6, 0, 0), {}, "no synthetic pictures"),
        (_features(6, 0, 0), {"token": _features(1, 0, 1)}, "'token': 1 picture"),
        (_features(6, 0, 0), {"raw": _features(6, 0, 1, dim=5)}, "'raw'.* width 5"),
        (_features(6, 0, 0), {"raw": NAN}, "'raw'.* NaN"),
        (NAN, {"raw": _features(6, 0, 0)}, "NaN"),
    ],
)
def test_errors_name_the_class_and_the_source(real, synthetic, message):
    with pytest.raises(ValueError, match=rf"^class 'ball moss'.*{message}"):
        _score(real, synthetic)
