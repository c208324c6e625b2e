"""Scoring of one class: matched sizes, floors, intervals, values that stay, errors by name."""

import dataclasses

import numpy as np
import pytest
from scored_class import CONFIG, features_of, halves_of, score_all, score_pair, value_of

from flowerti.metrics.diversity import vendi_ratio
from flowerti.metrics.frechet import frechet_distance
from flowerti.metrics.kernel import (
    cmmd,
    kernel_distance,
    kernel_standard_error,
)
from flowerti.metrics.manifold import precision_recall_density_coverage
from flowerti.metrics.similarity import image_similarity, text_similarity


def test_kernel_distance_uses_sets_of_equal_size_whole():
    real, raw, token = (features_of(12, shift, i) for i, shift in enumerate((0, 1, 0.3)))
    distances, _ = score_pair(real, {"raw": raw, "token": token})
    for source, features in (("raw", raw), ("token", token)):
        kernel = value_of(distances, source, "kernel")
        assert kernel.value == pytest.approx(kernel_distance(features, real), rel=1e-9)
        assert kernel.p_value is not None
        assert 1 / 200 <= kernel.p_value <= 1
        assert value_of(distances, source, "frechet").p_value is None


@pytest.mark.parametrize(("num_real", "num_synthetic", "size"), [(21, 30, 10), (21, 8, 8), (16, 16, 8)])
def test_frechet_distance_is_taken_at_the_size_of_its_floor(num_real, num_synthetic, size):
    distances, _ = score_pair(features_of(num_real, 0, 0), {"token": features_of(num_synthetic, 0, 1)})
    found = value_of(distances, "token", "frechet")
    assert (found.num_real, found.num_synthetic, found.floor_num_images) == (size, size, size)


def test_frechet_distance_of_the_same_distribution_lies_at_its_floor():
    differences = []
    for seed in range(30):
        distances, _ = score_pair(features_of(24, 0, 2 * seed), {"token": features_of(24, 0, 2 * seed + 1)}, seed)
        found = value_of(distances, "token", "frechet")
        differences.append(found.value / found.floor - 1)
    # the bias is the same on both sides, so it cancels: without equal sizes the mean is off by tens of per cent
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(len(differences)) + 0.01


def test_a_shifted_set_lies_far_above_both_floors():
    distances, _ = score_pair(features_of(21, 0, 0), {"token": features_of(21, 2, 1)})
    for metric in ("frechet", "kernel"):
        found = value_of(distances, "token", metric)
        assert found.value > 3 * abs(found.floor)


def test_kernel_floor_does_not_depend_on_the_sources():
    real = features_of(16, 0, 0)
    one, _ = score_pair(real, {"token": features_of(16, 0, 1)})
    two, _ = score_pair(real, {"raw": features_of(9, 0, 2), "token": features_of(16, 0, 1)})
    assert value_of(one, "token", "kernel").floor == value_of(two, "token", "kernel").floor


@pytest.mark.parametrize("metric", ["frechet", "precision", "density", "vendi_ratio", "kernel", "image_similarity"])
def test_the_floor_is_one_number_for_all_sources(metric):
    real = features_of(21, 0, 0)
    sizes = {"raw": 10, "alternative_name": 12, "token": 40}
    distances, _ = score_pair(real, {s: features_of(num, 0.5, i + 1) for i, (s, num) in enumerate(sizes.items())})
    found = [value_of(distances, source, metric) for source in sizes]
    assert len({(one.floor, one.floor_num_images) for one in found}) == 1
    assert len({one.value for one in found}) == 3


def test_values_are_those_before_there_were_other_metrics():
    """Recorded with the first version of scoring (commit ef99ae8): new metrics must not move the random draws."""
    real, raw, token = features_of(17, 0, 0), features_of(14, 1, 1), features_of(25, 0.3, 2)
    distances, comparisons = score_pair(real, {"raw": raw, "token": token}, seed=7)
    found = {(d.source, d.metric): (d.value, d.floor, d.p_value) for d in distances}
    for source, features in (("raw", raw), ("token", token)):
        # on halves that are the same for all sources since the change of 2026-11-27: no longer the recorded ones
        halves = list(halves_of(17, len(features), source, 7))
        values = [frechet_distance(real[half], features[chosen]) for half, chosen, _ in halves]
        floors = [frechet_distance(real[half], real[other]) for half, _, other in halves]
        assert found[source, "frechet"] == pytest.approx((np.mean(values), np.mean(floors), None))
    for key, expected in RECORDED.items():
        assert found[key][:2] == pytest.approx(expected[:2], rel=1e-12), key
        assert found[key][2] == expected[2]
    assert comparisons[0].difference == pytest.approx(RECORDED_DIFFERENCE, rel=1e-12)


def test_kernel_intervals_are_students_over_the_jackknifes_error():
    real, raw, token = (features_of(12, shift, i) for i, shift in enumerate((0, 1, 0.3)))
    distances, _ = score_pair(real, {"raw": raw, "token": token})
    found, error = value_of(distances, "token", "kernel"), kernel_standard_error(real, token)
    half = 2.200985 * error  # the table's t for 11 degrees of freedom
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), rel=1e-6)
    assert value_of(distances, "token", "frechet").low is None


def test_two_images_have_no_interval():
    distances, comparisons = score_pair(
        features_of(8, 0, 0), {"raw": features_of(2, 0, 1), "token": features_of(9, 0, 2)}
    )
    assert value_of(distances, "raw", "kernel").low is None
    assert comparisons[0].high is None


@pytest.mark.parametrize("metric", ["precision", "recall", "density", "coverage", "vendi_ratio"])
def test_biased_metrics_are_means_over_the_halves_of_the_floor(metric):
    real, token = features_of(21, 0, 0), features_of(16, 0.5, 1)
    found = value_of(score_pair(real, {"token": token}, seed=3)[0], "token", metric)

    def measure(x, y):
        if metric == "vendi_ratio":
            return vendi_ratio(x, y)
        return getattr(precision_recall_density_coverage(x, y, CONFIG.num_neighbours), metric)

    values, floors = [], []
    for half, chosen, other in halves_of(21, 16, "token", 3):
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
        scores = score_all(features_of(num, 0, 0), {"token": features_of(20, 0, 1)})
        names, notes = {d.metric for d in scores.distances}, scores.notes
        assert ({"precision", "recall", "density", "coverage"} <= names) == is_there
        assert {"frechet", "kernel", "vendi_ratio", "image_similarity"} <= names
        assert len(notes) == (not is_there)
        where = "ball moss, token, efficientnet_lite0: no precision, recall, density and coverage, since "
        assert all(note == f"{where}5 images on each side are too few for 5 neighbours." for note in notes)


def test_similarities_take_all_images():
    real, token = features_of(9, 1, 0), features_of(14, 1, 1)
    text = np.arange(1, 7, dtype=np.float32)
    distances = score_all(real, {"token": token}, text=text).distances
    images, words = value_of(distances, "token", "image_similarity"), value_of(distances, "token", "text_similarity")
    assert images.value == pytest.approx(image_similarity(real, token))
    assert (images.num_real, images.num_synthetic, images.floor_num_images) == (9, 14, 4)
    assert words.value == pytest.approx(text_similarity(token, text))
    assert words.floor == pytest.approx(text_similarity(real, text))
    assert words.floor_num_images == 9


def test_cmmd_is_for_clip_and_text_similarity_for_those_who_give_a_text():
    real, token = features_of(9, 1, 0), features_of(9, 1.5, 1)
    plain, of_clip = (
        {d.metric for d in score_all(real, {"token": token}, extractor=e).distances} for e in ("net", "clip")
    )
    assert of_clip - plain == {"cmmd"}
    assert "text_similarity" not in of_clip
    found = value_of(score_all(real, {"token": token}, extractor="clip").distances, "token", "cmmd")
    assert found.value == pytest.approx(cmmd(real, token))
    assert found.floor is not None
    assert (found.num_real, found.floor_num_images) == (9, 4)


def test_the_seed_decides_and_the_order_of_sources_does_not():
    real = features_of(20, 0, 0)
    raw, token = features_of(12, 1, 1), features_of(15, 0, 2)
    first, _ = score_pair(real, {"raw": raw, "token": token})
    again, _ = score_pair(real, {"token": token, "raw": raw})
    other, _ = score_pair(real, {"raw": raw, "token": token}, seed=1)

    def table(distances):
        return {(d.source, d.metric): dataclasses.astuple(d) for d in distances}

    assert table(first) == table(again)
    assert value_of(first, "token", "frechet").value != value_of(other, "token", "frechet").value


RECORDED = {
    ("raw", "kernel"): (4.798440873719025, 0.12788355523685616, 0.005),
    ("token", "kernel"): (0.6362132169259249, 0.12788355523685616, 0.045),
}
RECORDED_DIFFERENCE = 4.162227656793101
NAN = np.full((6, 6), np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("real", "synthetic", "message"),
    [
        (features_of(3, 0, 0), {"token": features_of(6, 0, 1)}, "3 held-out real"),
        (features_of(6, 0, 0), {}, "no synthetic images"),
        (features_of(6, 0, 0), {"token": features_of(1, 0, 1)}, "'token': 1 image"),
        (features_of(6, 0, 0), {"raw": features_of(6, 0, 1, dim=5)}, "'raw'.* width 5"),
        (features_of(6, 0, 0), {"raw": NAN}, "'raw'.* NaN"),
        (features_of(6, 0, 0), {"wax": features_of(6, 0, 1)}, "unknown source of images 'wax': choose among raw"),
        (features_of(6, 0, 0), {"raw": np.ones((6, 6), np.float32)}, "'raw'.* equal"),
        (NAN, {"raw": features_of(6, 0, 0)}, "NaN"),
    ],
)
def test_errors_name_the_class_and_the_source(real, synthetic, message):
    with pytest.raises(ValueError, match=rf"^class 'ball moss'.*{message}"):
        score_pair(real, synthetic)


def test_round_trips_of_one_training_image_are_told_and_not_refused():
    """All of them are one image; the same of images that took steps says that something is broken."""
    real, raw = features_of(16, 0, 0), features_of(8, 1, 1)
    same = np.repeat(features_of(1, 0, 2), 8, axis=0)
    scores = score_all(real, {"raw": raw, "round_trip": same})
    assert {d.source for d in scores.distances} == {"raw"}
    alone, _ = score_pair(real, {"raw": raw})
    assert value_of(scores.distances, "raw", "kernel").value == value_of(alone, "raw", "kernel").value
    assert any("ball moss, round_trip" in note and "the same" in note for note in scores.notes)
    with pytest.raises(ValueError, match="nothing varies"):
        score_all(real, {"token": same})


def test_a_set_that_holds_copies_leaves_out_what_a_part_of_it_cannot_say():
    """Round trips of two training images, four times each: parts of it may be one image alone."""
    pair = np.repeat(features_of(2, 0, 2), 4, axis=0)
    real = features_of(8, 0, 0)
    scores = score_all(real, {"round_trip": pair})
    kernel = value_of(scores.distances, "round_trip", "kernel")
    assert kernel.value == pytest.approx(kernel_distance(pair, real), rel=1e-6)
