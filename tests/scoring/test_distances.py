"""Scoring of one class: matched sizes, floors, intervals, comparisons that agree with the table, errors by name."""

import dataclasses

import numpy as np
import pytest

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import ScoringConfig
from flowerti.metrics.diversity import vendi_ratio
from flowerti.metrics.kernel import closer_standard_error, cmmd, kernel_distance, kernel_standard_error
from flowerti.metrics.manifold import precision_recall_density_coverage
from flowerti.metrics.similarity import image_similarity, text_similarity
from flowerti.scoring import distances as scoring

CONFIG = ScoringConfig(num_permutations=199, num_floor_splits=5)


def _features(num, shift, seed, dim=6):
    return np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32) + np.float32(shift)


def _score_all(real, synthetic, seed=0, extractor="efficientnet_lite0", **settings):
    return scoring.score_class("ball moss", real, synthetic, extractor, CONFIG, seed, **settings)


def _score(real, synthetic, seed=0):
    return _score_all(real, synthetic, seed)[:2]


def _value(distances, source, metric):
    (found,) = [d for d in distances if (d.source, d.metric) == (source, metric)]
    return found


def test_kernel_distance_uses_sets_of_equal_size_whole():
    real, raw, token = (_features(12, shift, i) for i, shift in enumerate((0, 1, 0.3)))
    distances, _ = _score(real, {"raw": raw, "token": token})
    for source, features in (("raw", raw), ("token", token)):
        kernel = _value(distances, source, "kernel")
        assert kernel.value == pytest.approx(kernel_distance(features, real), rel=1e-9)
        assert kernel.p_value is not None
        assert 1 / 200 <= kernel.p_value <= 1
        assert _value(distances, source, "frechet").p_value is None


def test_kernel_distance_cuts_all_sets_to_the_smallest_without_repeating_a_image(monkeypatch):
    sets = {name: _features(n, i, i) for i, (name, n) in enumerate([("raw", 30), ("token", 9)])}
    real, seen = _features(20, 0, 5), []

    def record(x, y):
        seen.append((x, y))
        return 0.0

    monkeypatch.setattr(scoring, "kernel_distance", record)
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
    assert (found.num_real, found.num_synthetic, found.floor_num_images) == (size, size, size)


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


def test_comparisons_set_the_token_against_every_name():
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
        ("alternative_name", "raw"),
    ]
    for comparison in comparisons:
        closer, than = (_value(distances, source, "kernel").value for source in (comparison.closer, comparison.than))
        table = than - closer
        assert comparison.difference == pytest.approx(table, rel=1e-9)
    assert comparisons[0].p_value == 1 / 200
    assert {c.extractor for c in comparisons} == {"efficientnet_lite0"}


def test_an_adapter_is_set_against_its_token():
    sets = {"raw": _features(15, 2, 1), "token": _features(15, 1, 2), "lora": _features(15, 0, 3)}
    _, comparisons = _score(_features(15, 0, 0), sets)
    assert [(c.closer, c.than) for c in comparisons] == [("token", "raw"), ("lora", "token")]
    assert comparisons[1].difference > 0
    assert comparisons[1].p_value == 1 / 200


def test_a_source_that_lies_nearer_than_the_token_gives_a_large_p_value():
    sets = {"raw": _features(15, 0, 1), "token": _features(15, 2, 2)}
    (comparison,) = _score(_features(15, 0, 0), sets)[1]
    assert comparison.difference < 0
    assert comparison.p_value == 1.0


def test_without_a_token_there_is_nothing_to_compare():
    distances, comparisons = _score(_features(8, 0, 0), {"raw": _features(8, 0, 1)})
    assert {d.source for d in distances} == {"raw"}
    assert comparisons == []


def test_names_are_compared_without_a_token():
    sets = {"raw": _features(8, 0, 1), "alternative_name": _features(8, 0, 2)}
    (comparison,) = _score(_features(8, 0, 0), sets)[1]
    assert (comparison.closer, comparison.than) == ("alternative_name", "raw")


def test_values_are_those_before_there_were_other_metrics():
    """Recorded with the first version of scoring (commit ef99ae8): new metrics must not move the random draws."""
    real, raw, token = _features(17, 0, 0), _features(14, 1, 1), _features(25, 0.3, 2)
    distances, comparisons = _score(real, {"raw": raw, "token": token}, seed=7)
    found = {(d.source, d.metric): (d.value, d.floor, d.p_value) for d in distances}
    for key, expected in RECORDED.items():
        assert found[key][:2] == pytest.approx(expected[:2], rel=1e-12), key
        assert found[key][2] == expected[2]
    assert (comparisons[0].difference, comparisons[0].p_value) == pytest.approx(RECORDED_COMPARISON, rel=1e-12)


def test_kernel_intervals_are_the_jackknifes():
    real, raw, token = (_features(12, shift, i) for i, shift in enumerate((0, 1, 0.3)))
    distances, comparisons = _score(real, {"raw": raw, "token": token})
    found, error = _value(distances, "token", "kernel"), kernel_standard_error(real, token)
    assert (found.low, found.high) == pytest.approx((found.value - 1.96 * error, found.value + 1.96 * error))
    error, found = closer_standard_error(real, token, raw), comparisons[0]
    assert (found.low, found.high) == pytest.approx((found.difference - 1.96 * error, found.difference + 1.96 * error))
    assert _value(distances, "token", "frechet").low is None


def test_two_images_have_no_interval():
    distances, comparisons = _score(_features(8, 0, 0), {"raw": _features(2, 0, 1), "token": _features(9, 0, 2)})
    assert _value(distances, "raw", "kernel").low is None
    assert comparisons[0].high is None


def _halves(num_real, num_synthetic, source, seed):
    """The random halves as the documentation of `against_halves` has them."""
    rng = np.random.default_rng(seed_for(seed, "ball moss", f"scoring/halves/{source}", 0))
    size = min(num_real // 2, num_synthetic)
    for _ in range(CONFIG.num_floor_splits):
        order, chosen = rng.permutation(num_real), rng.permutation(num_synthetic)[:size]
        yield order[:size], chosen, order[size : 2 * size]


@pytest.mark.parametrize("metric", ["precision", "recall", "density", "coverage", "vendi_ratio"])
def test_biased_metrics_are_means_over_the_halves_of_the_floor(metric):
    real, token = _features(21, 0, 0), _features(16, 0.5, 1)
    found = _value(_score(real, {"token": token}, seed=3)[0], "token", metric)

    def measure(x, y):
        if metric == "vendi_ratio":
            return vendi_ratio(x, y)
        return getattr(precision_recall_density_coverage(x, y, CONFIG.num_neighbours), metric)

    values, floors = [], []
    for half, chosen, other in _halves(21, 16, "token", 3):
        values.append(measure(real[half], token[chosen]))
        floors.append(measure(real[half], real[other]))
    assert found.value == pytest.approx(np.mean(values))
    assert found.floor == pytest.approx(np.mean(floors))
    assert (found.num_real, found.num_synthetic, found.floor_num_images) == (10, 10, 10)
    assert (found.low, found.high, found.p_value) == (None, None, None)


def test_too_few_images_for_the_neighbours_are_noted_and_nothing_else_is_lost():
    neighbours = CONFIG.num_neighbours
    enough, few = 2 * neighbours + 2, 2 * neighbours + 1
    for num, is_there in ((enough, True), (few, False)):
        distances, _, notes = _score_all(_features(num, 0, 0), {"token": _features(20, 0, 1)})
        names = {d.metric for d in distances}
        assert ({"precision", "recall", "density", "coverage"} <= names) == is_there
        assert {"frechet", "kernel", "vendi_ratio", "image_similarity"} <= names
        assert len(notes) == (not is_there)
        assert all(note.startswith("ball moss, token, efficientnet_lite0: no precision") for note in notes)


def test_similarities_take_all_images():
    real, token = _features(9, 1, 0), _features(14, 1, 1)
    text = np.arange(1, 7, dtype=np.float32)
    distances, _, _ = _score_all(real, {"token": token}, text_feature=text)
    images, words = _value(distances, "token", "image_similarity"), _value(distances, "token", "text_similarity")
    assert images.value == pytest.approx(image_similarity(real, token))
    assert (images.num_real, images.num_synthetic, images.floor_num_images) == (9, 14, 4)
    assert words.value == pytest.approx(text_similarity(token, text))
    assert words.floor == pytest.approx(text_similarity(real, text))
    assert words.floor_num_images == 9


def test_cmmd_is_for_clip_and_text_similarity_for_those_who_give_a_text():
    real, token = _features(9, 1, 0), _features(9, 1.5, 1)
    plain, of_clip = ({d.metric for d in _score_all(real, {"token": token}, extractor=e)[0]} for e in ("net", "clip"))
    assert of_clip - plain == {"cmmd"}
    assert "text_similarity" not in of_clip
    found = _value(_score_all(real, {"token": token}, extractor="clip")[0], "token", "cmmd")
    assert found.value == pytest.approx(cmmd(real, token))
    assert found.floor is not None
    assert (found.num_real, found.floor_num_images) == (9, 4)


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


RECORDED = {
    ("raw", "frechet"): (8.136458281214672, 4.282914507036861, None),
    ("raw", "kernel"): (4.798440873719025, 0.12788355523685616, 0.005),
    ("token", "frechet"): (4.3294876712076675, 3.3859333569338284, None),
    ("token", "kernel"): (0.6362132169259249, 0.12788355523685616, 0.045),
}
RECORDED_COMPARISON = (4.162227656793101, 0.005)
NAN = np.full((6, 6), np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("real", "synthetic", "message"),
    [
        (_features(3, 0, 0), {"token": _features(6, 0, 1)}, "3 held-out real"),
        (_features(6, 0, 0), {}, "no synthetic images"),
        (_features(6, 0, 0), {"token": _features(1, 0, 1)}, "'token': 1 image"),
        (_features(6, 0, 0), {"raw": _features(6, 0, 1, dim=5)}, "'raw'.* width 5"),
        (_features(6, 0, 0), {"raw": NAN}, "'raw'.* NaN"),
        (_features(6, 0, 0), {"raw": np.ones((6, 6), np.float32)}, "'raw'.* equal"),
        (NAN, {"raw": _features(6, 0, 0)}, "NaN"),
    ],
)
def test_errors_name_the_class_and_the_source(real, synthetic, message):
    with pytest.raises(ValueError, match=rf"^class 'ball moss'.*{message}"):
        _score(real, synthetic)
