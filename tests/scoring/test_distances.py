"""Scoring of one class: matched sizes, floors, intervals, comparisons that agree with the table, errors by name."""

import dataclasses

import numpy as np
import pytest

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import ScoringConfig
from flowerti.metrics.diversity import vendi_ratio
from flowerti.metrics.kernel import (
    closer_p_value,
    closer_standard_error,
    cmmd,
    kernel_distance,
    kernel_standard_error,
)
from flowerti.metrics.manifold import precision_recall_density_coverage
from flowerti.metrics.similarity import image_similarity, text_similarity
from flowerti.scoring.class_features import ClassFeatures
from flowerti.scoring.comparisons import comparison_pairs
from flowerti.scoring.distances import score_class
from flowerti.scoring.metric_table import KINDS, METRICS, Metric
from flowerti.tables.sources import SOURCES, Source

CONFIG = ScoringConfig(num_permutations=199, num_floor_splits=5)


def _features(num, shift, seed, dim=6):
    return np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32) + np.float32(shift)


def _score_all(real, synthetic, seed=0, extractor="efficientnet_lite0", **settings):
    features = ClassFeatures(class_name="ball moss", extractor=extractor, real=real, synthetic=synthetic, **settings)
    return score_class(features, CONFIG, seed)


def _score(real, synthetic, seed=0):
    scores = _score_all(real, synthetic, seed)
    return scores.distances, scores.comparisons


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


@pytest.fixture
def add_metric(monkeypatch):
    """Adds a row to the table of metrics for the length of a test, as a plugin does."""

    def add(**fields):
        row = Metric(**fields)
        monkeypatch.setitem(METRICS._rows, row.name, row)

    return add


def test_matched_metrics_cut_all_sets_to_the_smallest_without_repeating_an_image(add_metric):
    sets = {name: _features(n, i, i) for i, (name, n) in enumerate([("raw", 30), ("token", 9)])}
    real, seen = _features(20, 0, 5), []

    def record(x, y):
        seen.append((x, y))
        return 0.0

    add_metric(name="recorded", label="recorded", taken="matched", function=record)
    distances, _ = _score(real, sets)
    for metric in ("kernel", "recorded"):
        assert {(d.num_real, d.num_synthetic) for d in distances if d.metric == metric} == {(9, 9)}
    pairs = seen[CONFIG.num_floor_splits :]
    for (x, y), name in zip(pairs, sets, strict=True):
        for subset, whole in ((x, real), (y, sets[name])):
            rows = {tuple(row) for row in subset.tolist()}
            assert len(rows) == 9
            assert rows <= {tuple(row) for row in whole.tolist()}


def _shift(x, y):
    return float(np.abs(x.mean(axis=0) - y.mean(axis=0)).sum())


def test_a_metric_from_outside_is_taken_as_it_says_and_moves_no_other_number(add_metric):
    real, token = _features(21, 0, 0), _features(16, 0.5, 1)
    before = _score(real, {"token": token}, seed=3)
    add_metric(name="shift", label="shift of the mean", function=_shift)
    add_metric(name="shift_of_all", label="shift", taken="all", function=_shift)
    add_metric(name="for_others", label="for others", function=_shift, extractor="inception")
    after = _score(real, {"token": token}, seed=3)
    assert [d for d in after[0] if not d.metric.startswith("shift")] == before[0]
    assert after[1] == before[1]
    at_halves, of_all = (_value(after[0], "token", name) for name in ("shift", "shift_of_all"))
    halves = list(_halves(21, 16, "token", 3))
    assert at_halves.value == pytest.approx(np.mean([_shift(real[a], token[b]) for a, b, _ in halves]))
    assert at_halves.floor == pytest.approx(np.mean([_shift(real[a], real[c]) for a, _, c in halves]))
    assert (at_halves.num_real, at_halves.p_value, at_halves.low) == (10, None, None)
    assert of_all.value == pytest.approx(_shift(real, token))
    assert (of_all.num_real, of_all.num_synthetic, of_all.floor_num_images) == (21, 16, 10)


def test_a_metric_from_outside_may_have_a_test_and_an_interval(add_metric):
    add_metric(
        name="shift",
        label="shift",
        taken="matched",
        function=_shift,
        p_value=lambda x, y, num, rng: float(rng.permutation(num)[0]),
        standard_error=lambda x, y: 0.5,
    )
    found = _value(_score(_features(12, 0, 0), {"token": _features(9, 1, 1)}, seed=4)[0], "token", "shift")
    rng = np.random.default_rng(seed_for(4, "ball moss", "scoring/permute/token", 0))
    assert found.p_value == rng.permutation(CONFIG.num_permutations)[0]
    assert (found.low, found.high) == pytest.approx((found.value - 0.98, found.value + 0.98))


@pytest.mark.parametrize("taken", ["halves", "matched", "all"])
def test_a_metric_that_needs_more_images_is_left_out_and_noted(add_metric, taken):
    add_metric(name="greedy", label="greedy number", function=_shift, taken=taken, min_images=7)
    for num, is_there in ((14, True), (13, False)):
        scores = _score_all(_features(num, 0, 0), {"token": _features(20, 0, 1)})
        assert ("greedy" in {d.metric for d in scores.distances}) == is_there
        note = "ball moss, token, efficientnet_lite0: no greedy number, since 6 images on each side are too few"
        assert scores.notes == ([] if is_there else [f"{note} (at least 7)."])


def test_rows_that_make_no_sense_are_refused(add_metric):
    with pytest.raises(ValueError, match="metric 'few': min_images is 1"):
        Metric(name="few", label="few", function=_shift, min_images=1)
    for taken in ("halves", "text"):
        with pytest.raises(ValueError, match=f"metric 'odd': .* not '{taken}'"):
            Metric(name="odd", label="odd", function=_shift, taken=taken, standard_error=_shift)
    add_metric(name="lost", label="lost", function=_shift, kind="nowhere")
    with pytest.raises(ValueError, match="metric 'lost': unknown kind 'nowhere': choose among kernel"):
        _score(_features(9, 0, 0), {"token": _features(9, 0, 1)})


def test_every_metric_has_a_kind_of_the_page_and_every_kind_a_metric():
    assert {metric.kind for metric in METRICS} == set(KINDS.names)


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
        ("alternative_name", "raw"),
        ("token", "raw"),
        ("token", "alternative_name"),
    ]
    for comparison in comparisons:
        closer, than = (_value(distances, source, "kernel").value for source in (comparison.closer, comparison.than))
        table = than - closer
        assert comparison.difference == pytest.approx(table, rel=1e-9)
    assert comparisons[1].p_value == 1 / 200
    assert {c.extractor for c in comparisons} == {"efficientnet_lite0"}


def test_an_adapter_is_set_against_its_token():
    sets = {"raw": _features(15, 2, 1), "token": _features(15, 1, 2), "lora": _features(15, 0, 3)}
    _, comparisons = _score(_features(15, 0, 0), sets)
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
    real, near, far = _features(12, 0, 0), _features(9, 0.4, 1), _features(9, 0.5, 2)
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
        (comparison,) = _score(real[:9], {closer: near, than: far}, seed=5)[1]
        rng = np.random.default_rng(seed_for(5, "ball moss", f"scoring/{purpose}", 0))
        # sets of one size are not cut, but shuffled and sorted again: the same rows in the same order
        assert (comparison.difference, comparison.p_value) == closer_p_value(real[:9], near, far, 199, rng)


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
        scores = _score_all(_features(num, 0, 0), {"token": _features(20, 0, 1)})
        names, notes = {d.metric for d in scores.distances}, scores.notes
        assert ({"precision", "recall", "density", "coverage"} <= names) == is_there
        assert {"frechet", "kernel", "vendi_ratio", "image_similarity"} <= names
        assert len(notes) == (not is_there)
        where = "ball moss, token, efficientnet_lite0: no precision, recall, density and coverage, since "
        assert all(note == f"{where}5 images on each side are too few for 5 neighbours." for note in notes)


def test_similarities_take_all_images():
    real, token = _features(9, 1, 0), _features(14, 1, 1)
    text = np.arange(1, 7, dtype=np.float32)
    distances = _score_all(real, {"token": token}, text=text).distances
    images, words = _value(distances, "token", "image_similarity"), _value(distances, "token", "text_similarity")
    assert images.value == pytest.approx(image_similarity(real, token))
    assert (images.num_real, images.num_synthetic, images.floor_num_images) == (9, 14, 4)
    assert words.value == pytest.approx(text_similarity(token, text))
    assert words.floor == pytest.approx(text_similarity(real, text))
    assert words.floor_num_images == 9


def test_cmmd_is_for_clip_and_text_similarity_for_those_who_give_a_text():
    real, token = _features(9, 1, 0), _features(9, 1.5, 1)
    plain, of_clip = (
        {d.metric for d in _score_all(real, {"token": token}, extractor=e).distances} for e in ("net", "clip")
    )
    assert of_clip - plain == {"cmmd"}
    assert "text_similarity" not in of_clip
    found = _value(_score_all(real, {"token": token}, extractor="clip").distances, "token", "cmmd")
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
        (_features(6, 0, 0), {"wax": _features(6, 0, 1)}, "unknown source of images 'wax': choose among raw"),
        (_features(6, 0, 0), {"raw": np.ones((6, 6), np.float32)}, "'raw'.* equal"),
        (NAN, {"raw": _features(6, 0, 0)}, "NaN"),
    ],
)
def test_errors_name_the_class_and_the_source(real, synthetic, message):
    with pytest.raises(ValueError, match=rf"^class 'ball moss'.*{message}"):
        _score(real, synthetic)
