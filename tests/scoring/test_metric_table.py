"""Rows of the table of metrics: those of a plugin are computed as they say, and invalid ones are refused."""

import numpy as np
import pytest
from scored_class import CONFIG, features_of, halves_of, score_all, score_pair, shift_of_means, value_of

from flowerti.artifacts.identity import seed_for
from flowerti.scoring.metric_table import KINDS, METRICS, Metric


@pytest.fixture
def add_metric(monkeypatch):
    """Adds a row to the table of metrics for the length of a test, as a plugin does."""

    def add(**fields):
        row = Metric(**fields)
        monkeypatch.setitem(METRICS._rows, row.name, row)

    return add


def test_matched_metrics_cut_all_sets_to_the_smallest_without_repeating_an_image(add_metric):
    sets = {name: features_of(n, i, i) for i, (name, n) in enumerate([("raw", 30), ("token", 9)])}
    real, seen = features_of(20, 0, 5), []

    def record(x, y):
        seen.append((x, y))
        return 0.0

    add_metric(name="recorded", label="recorded", taken="matched", function=record)
    distances, _ = score_pair(real, sets)
    for metric in ("kernel", "recorded"):
        assert {(d.num_real, d.num_synthetic) for d in distances if d.metric == metric} == {(9, 9)}
    pairs = seen[CONFIG.num_floor_splits :]
    for (x, y), name in zip(pairs, sets, strict=True):
        for subset, whole in ((x, real), (y, sets[name])):
            rows = {tuple(row) for row in subset.tolist()}
            assert len(rows) == 9
            assert rows <= {tuple(row) for row in whole.tolist()}


def test_a_metric_from_outside_is_taken_as_it_says_and_moves_no_other_number(add_metric):
    real, token = features_of(21, 0, 0), features_of(16, 0.5, 1)
    before = score_pair(real, {"token": token}, seed=3)
    add_metric(name="shift", label="shift of the mean", function=shift_of_means)
    add_metric(name="shift_of_all", label="shift", taken="all", function=shift_of_means)
    add_metric(name="for_others", label="for others", function=shift_of_means, extractor="inception")
    after = score_pair(real, {"token": token}, seed=3)
    assert [d for d in after[0] if not d.metric.startswith("shift")] == before[0]
    assert after[1] == before[1]
    at_halves, of_all = (value_of(after[0], "token", name) for name in ("shift", "shift_of_all"))
    halves = list(halves_of(21, 16, "token", 3))
    assert at_halves.value == pytest.approx(np.mean([shift_of_means(real[a], token[b]) for a, b, _ in halves]))
    assert at_halves.floor == pytest.approx(np.mean([shift_of_means(real[a], real[c]) for a, _, c in halves]))
    assert (at_halves.num_real, at_halves.p_value, at_halves.low) == (10, None, None)
    assert of_all.value == pytest.approx(shift_of_means(real, token))
    assert (of_all.num_real, of_all.num_synthetic, of_all.floor_num_images) == (21, 16, 10)


def test_a_metric_from_outside_may_have_a_test_and_an_interval(add_metric):
    add_metric(
        name="shift",
        label="shift",
        taken="matched",
        function=shift_of_means,
        p_value=lambda x, y, num, rng: float(rng.permutation(num)[0]),
        standard_error=lambda x, y: 0.5,
    )
    found = value_of(score_pair(features_of(12, 0, 0), {"token": features_of(9, 1, 1)}, seed=4)[0], "token", "shift")
    rng = np.random.default_rng(seed_for(4, "ball moss", "scoring/permute/token", 0))
    assert found.p_value == rng.permutation(CONFIG.num_permutations)[0]
    half = 2.306004 * 0.5  # the table's t for 8 degrees of freedom: sets of 9 images
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))


@pytest.mark.parametrize("taken", ["halves", "matched", "all"])
def test_a_metric_that_needs_more_images_is_left_out_and_noted(add_metric, taken):
    add_metric(name="greedy", label="greedy number", function=shift_of_means, taken=taken, min_images=7)
    for num, is_there in ((14, True), (13, False)):
        scores = score_all(features_of(num, 0, 0), {"token": features_of(20, 0, 1)})
        assert ("greedy" in {d.metric for d in scores.distances}) == is_there
        note = "ball moss, token, efficientnet_lite0: no greedy number, since 6 images on each side are too few"
        assert scores.notes == ([] if is_there else [f"{note} (at least 7)."])


def test_rows_that_make_no_sense_are_refused(add_metric):
    with pytest.raises(ValueError, match="metric 'few': min_images is 1"):
        Metric(name="few", label="few", function=shift_of_means, min_images=1)
    for taken in ("halves", "text"):
        with pytest.raises(ValueError, match=f"metric 'odd': .* not '{taken}'"):
            Metric(name="odd", label="odd", function=shift_of_means, taken=taken, standard_error=shift_of_means)
    add_metric(name="lost", label="lost", function=shift_of_means, kind="nowhere")
    with pytest.raises(ValueError, match="metric 'lost': unknown kind 'nowhere': choose among kernel"):
        score_pair(features_of(9, 0, 0), {"token": features_of(9, 0, 1)})


def test_every_metric_has_a_kind_of_the_page_and_every_kind_a_metric():
    assert {metric.kind for metric in METRICS} == set(KINDS.names)
