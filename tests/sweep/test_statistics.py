"""Sweep statistics against hand counts, explicitly resampled arrays, scipy and torchmetrics."""

import dataclasses
import statistics

import numpy as np
import pytest
import torch
from scipy import stats
from small_sweep import (
    NAMES,
    NUM_CLASSES,
    TRUE_IDS,
    WEAK,
    analyse,
    cell,
    explicit_replicate,
    loop_f1,
    loop_means,
    make_trial,
    row_of,
    small_sweep,
    summarise,
    trials_of,
)
from torchmetrics.functional.classification import multiclass_recall

from flowerti.artifacts.identity import seed_for
from flowerti.sweep.bootstrap import draw_resamples, resampled_f1


def test_resampled_f1_is_that_of_explicitly_repeated_arrays():
    trials = small_sweep()
    cells = [trials_of(trials, "real", 0.0), trials_of(trials, "token", 2.0)]
    predictions = np.array([[t.predictions for t in own] for own in cells])
    is_weak = np.isin(np.arange(NUM_CLASSES), WEAK)
    groups = np.stack([np.full(4, 0.25), is_weak / 2, ~is_weak / 2])
    seed_counts, image_counts = draw_resamples(TRUE_IDS, 3, 25, np.random.default_rng(1))
    fast = resampled_f1(predictions, TRUE_IDS, groups, seed_counts, image_counts)
    assert fast.both.shape == (3, 2, 25)
    for arm, own in enumerate(cells):
        for b in range(25):
            slow = explicit_replicate(own, seed_counts[b], image_counts[:, b])
            np.testing.assert_allclose(fast.both[:, arm, b], slow, atol=1e-12)
            slow = explicit_replicate(own, np.ones(3, int), image_counts[:, b])
            np.testing.assert_allclose(fast.images_only[:, arm, b], slow, atol=1e-12)
        slow = [loop_means(TRUE_IDS, np.array(t.predictions)) for t in own]
        np.testing.assert_allclose(fast.units[:, arm].T, slow, atol=1e-12)


def test_a_replicate_keeps_the_number_of_seeds_and_the_images_of_each_class():
    seed_counts, image_counts = draw_resamples(TRUE_IDS, 3, 4000, np.random.default_rng(2))
    assert set(seed_counts.sum(axis=1)) == {3}
    for class_id, size in enumerate([3, 4, 2, 5]):
        members = image_counts[TRUE_IDS == class_id]
        assert set(members.sum(axis=0)) == {size}
        # Drawn with replacement, an image's count is binomial(size, 1 / size).
        np.testing.assert_allclose(members.mean(axis=1), 1, atol=4 / np.sqrt(4000))
        np.testing.assert_allclose(members.var(axis=1), 1 - 1 / size, atol=0.15)


def test_means_and_gains_are_the_hand_counts():
    trials = small_sweep()
    rows = summarise(trials)
    real = np.mean([loop_means(TRUE_IDS, np.array(t.predictions)) for t in trials[3:6]], axis=0)
    for row in rows:
        own = trials_of(trials, row.arm, row.ratio)
        macro, weak, rest = np.mean([loop_means(TRUE_IDS, np.array(t.predictions)) for t in own], axis=0)
        found = [row.macro_f1, row.weak_f1, row.rest_f1, row.weak_gain, row.rest_gain]
        np.testing.assert_allclose(found, [macro, weak, rest, weak - real[1], rest - real[2]])
        assert (row.split, row.num_repetitions) == ("validation", 3)


def _error_by_hand(unit_values, images_only, both, level, per_class, sizes):
    """Variance components of a balanced two-way table for three seeds, that of three quarters of an image at least."""
    image_factor, seed_factor = per_class / (per_class - 1), 3 / 2
    of_seeds = statistics.variance(unit_values) / 3
    of_images = statistics.pvariance(images_only) * image_factor
    rest = statistics.pvariance(both) - statistics.pvariance(unit_values) / 3 - statistics.pvariance(images_only)
    total = of_seeds + of_images - max(0, rest) * seed_factor * image_factor
    total = max(total, of_seeds, of_images)
    least = 0.75 * sum(((2 - level) / 2 / size / len(sizes)) ** 2 for size in sizes)
    unseen = max(0, least - of_images)
    return (total + unseen) ** 0.5, of_seeds / (total + unseen)


def _num_deciding_by_hand(real, judged):
    """Images of weak classes, by truth or by a guess, that the arms guess differently in most of the repetitions."""
    num = 0
    for image, true_id in enumerate(TRUE_IDS):
        pairs = [(a.predictions[image], b.predictions[image]) for a, b in zip(real, judged, strict=True)]
        of_weak = [true_id in WEAK or a in WEAK or b in WEAK for a, b in pairs]
        num += sum(a != b and weak for (a, b), weak in zip(pairs, of_weak, strict=True)) >= len(pairs) / 2
    return num


def _quantile_by_hand(probability, share_of_units, images_freedom):
    of_seeds, of_images = (float(stats.t(freedom).ppf(probability)) for freedom in (2, images_freedom))
    return share_of_units * of_seeds + (1 - share_of_units) * of_images


def test_intervals_and_p_values_are_those_of_paired_explicit_resamples():
    trials = small_sweep()
    rng = np.random.default_rng(seed_for(7, "", "bootstrap/validation", 0))
    seed_counts, image_counts = draw_resamples(TRUE_IDS, 3, 100, rng)
    keys = (("real", 0.0), ("token", 0.5), ("token", 2.0))

    def replicates(key, of_seeds):
        own = trials_of(trials, *key)
        return np.array([explicit_replicate(own, s, p) for s, p in zip(of_seeds, image_counts.T, strict=True)])

    both = {key: replicates(key, seed_counts) for key in keys}
    images = {key: replicates(key, np.ones_like(seed_counts)) for key in keys}
    seeds = {
        key: np.array([loop_means(TRUE_IDS, np.array(t.predictions)) for t in trials_of(trials, *key)]) for key in keys
    }
    rows = summarise(trials, seed=7)
    for key in keys:
        row = row_of(rows, *key)
        real = seeds["real", 0.0][:, 1]
        samples = {
            "macro_f1": ([part[key][:, 0] for part in (seeds, images, both)], seeds[key][:, 0], [3, 4, 2, 5]),
            "weak_f1": ([part[key][:, 1] for part in (seeds, images, both)], seeds[key][:, 1], [4, 5]),
            "weak_gain": (
                [part[key][:, 1] - part["real", 0.0][:, 1] for part in (seeds, images, both)],
                (seeds[key][:, 1] + real) / 2,
                [4, 5],
            ),
        }
        for name, (parts, levels, sizes) in samples.items():
            if name == "weak_gain" and key == ("real", 0.0):
                continue
            as_lists = [part.tolist() for part in parts]
            error, share = _error_by_hand(*as_lists, statistics.mean(levels), sum(sizes) / len(sizes), sizes)
            freedom, centre = sum(sizes) - len(sizes), statistics.mean(as_lists[0])
            half = _quantile_by_hand(0.975, share, freedom) * error
            bounds = [getattr(row, f"{name}_low"), getattr(row, f"{name}_high")]
            lowest = -1 if name == "weak_gain" else 0
            np.testing.assert_allclose(bounds, [max(lowest, centre - half), min(1, centre + half)], atol=1e-9)
        if key != ("real", 0.0):
            smallest = 0.5 ** _num_deciding_by_hand(trials_of(trials, "real", 0.0), trials_of(trials, *key))
            at_least = _quantile_by_hand(1 - smallest, share, freedom)
            assert _quantile_by_hand(1 - row.weak_gain_p, share, freedom) == pytest.approx(
                min(at_least, centre / error)
            )


def _reference_recall(predicted, class_id):
    recall = multiclass_recall(torch.tensor(predicted), torch.from_numpy(TRUE_IDS), num_classes=4, average="none")
    return float(recall[class_id])


def test_recalls_are_those_of_torchmetrics_and_their_intervals_those_of_scipy():
    trials = small_sweep()
    analysis = analyse(trials)
    rows = {(r.arm, r.ratio, r.class_name): r for r in analysis.class_rows()}
    assert len(rows) == 4 * len(WEAK)
    for (arm, ratio, name), row in rows.items():
        own, class_id = trials_of(trials, arm, ratio), NAMES.index(name)
        assert row.num_images == (TRUE_IDS == class_id).sum()
        assert row.recall == pytest.approx(np.mean([_reference_recall(t.predictions, class_id) for t in own]))
        assert row.f1 == pytest.approx(np.mean([loop_f1(TRUE_IDS, np.array(t.predictions), class_id) for t in own]))
    for row in analysis.rows():
        own = trials_of(trials, row.arm, row.ratio)
        expected = np.mean([[_reference_recall(t.predictions, c) for c in range(4)] for t in own])
        assert row.balanced_accuracy == pytest.approx(expected)


def test_a_recalls_interval_is_wilsons_over_images_not_over_seeds():
    hits = [make_trial("real", 0.0, s, np.where(np.arange(14) < 5, TRUE_IDS, 0)) for s in range(4)]
    rows = {r.class_name: r for r in analyse(hits).class_rows()}
    expected = stats.binomtest(2, 4).proportion_ci(method="wilson")  # class b: images 3 to 6, of which 3 and 4 hit
    assert (rows["b"].recall, rows["b"].recall_low) == pytest.approx((0.5, expected.low))
    assert rows["b"].recall_high == pytest.approx(expected.high)


def test_p_values_are_adjusted_over_ratios_and_over_classes_and_ratios():
    trials = small_sweep()
    analysis = analyse(trials)
    tokens = [r for r in analysis.rows() if r.arm == "token"]
    raw = sorted(r.weak_gain_p for r in tokens)
    assert sorted(r.holm_p for r in tokens) == pytest.approx([min(1, 2 * raw[0]), min(1, max(2 * raw[0], raw[1]))])
    others = [r for r in analysis.rows() if r.arm != "token"]
    assert all(r.holm_p == r.weak_gain_p for r in others)
    classes = [r for r in analysis.class_rows() if r.arm == "token"]
    smallest = min(classes, key=lambda r: r.gain_p)
    assert smallest.holm_p == pytest.approx(min(1, 4 * smallest.gain_p))


def test_a_class_is_compared_with_its_own_images_shown_again():
    again = [dataclasses.replace(t, arm="repeated", ratio=2.0) for t in small_sweep() if t.arm == "balanced"]
    trials = [*small_sweep(), *again]
    analysis = analyse(trials)
    rows = [r for r in analysis.class_rows() if r.arm == "token"]
    assert {row.ratio for row in rows} == {0.5, 2.0}
    for row in rows:
        if row.ratio == 0.5:
            assert (row.content_gain, row.content_gain_p) == (0.0, 1.0), "there is nothing to compare with"
            continue
        class_id = NAMES.index(row.class_name)
        of_token, of_repeated = (
            np.mean([loop_f1(TRUE_IDS, np.array(t.predictions), class_id) for t in trials_of(trials, arm, 2.0)])
            for arm in ("token", "repeated")
        )
        assert row.content_gain == pytest.approx(of_token - of_repeated)
    # with one weak class its contrast is the arm's
    (alone,) = [r for r in analyse(trials, weak_ids=[1]).class_rows() if (r.arm, r.ratio) == ("token", 2.0)]
    contrast = analyse(trials, weak_ids=[1]).contrast(cell("token", 2.0), cell("repeated", 2.0))
    assert alone.content_gain == pytest.approx(contrast.difference)
    assert alone.content_gain_p == contrast.p


def test_groups_follow_the_number_of_training_images():
    trials = small_sweep()
    analysis = analyse(trials, num_train=[150, 10, 5, 20])
    rows = {(r.arm, r.ratio, r.group): r for r in analysis.group_rows()}
    assert {group for *_, group in rows} == {"many", "medium", "few"}
    assert {r.num_classes for r in rows.values() if r.group == "few"} == {2}
    own = trials_of(trials, "token", 2.0)
    expected = [np.mean([loop_f1(TRUE_IDS, np.array(t.predictions), c) for t in own]) for c in range(4)]
    assert rows["token", 2.0, "few"].f1 == pytest.approx((expected[1] + expected[2]) / 2)
    assert rows["token", 2.0, "many"].f1 == pytest.approx(expected[0])
    assert rows["real", 0.0, "few"].gain == 0
    assert analyse(trials).group_rows() == []


def test_a_contrast_with_real_is_the_gain_of_the_row():
    analysis = analyse(small_sweep())
    row = row_of(analysis.rows(), "token", 2.0)
    found = analysis.contrast(cell("token", 2.0), cell("real"), primary=True)
    assert (found.difference, found.low, found.high, found.p) == (
        row.weak_gain,
        row.weak_gain_low,
        row.weak_gain_high,
        row.weak_gain_p,
    )
    copies = [dataclasses.replace(t, arm="repeated") for t in small_sweep() if (t.arm, t.ratio) == ("token", 0.5)]
    beside = analyse(small_sweep() + [dataclasses.replace(t, ratio=2.0) for t in copies])
    content = beside.contrast(cell("token", 2.0), cell("repeated", 2.0))
    row = row_of(beside.rows(), "token", 2.0)
    assert (row.content_gain, row.content_gain_low, row.content_gain_high, row.content_gain_p) == (
        content.difference,
        content.low,
        content.high,
        content.p,
    )
    assert row_of(beside.rows(), "token", 0.5).content_gain_p == 1, "there is no control at this ratio"
    turned = analysis.contrast(cell("real"), cell("token", 2.0))
    assert turned.difference == -found.difference
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    with pytest.raises(ValueError, match="no trial of raw at ratio 2"):
        analysis.contrast(cell("raw", 2.0), cell("real"))
