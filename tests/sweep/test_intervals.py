"""Intervals against the two-way analysis of variance of statsmodels, Student's interval, and simulation."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from torchmetrics.functional.classification import multiclass_f1_score

from flowerti.sweep.bootstrap import draw_resamples, resampled_f1
from flowerti.sweep.intervals import Error, ImagesBehind, crossed_error, estimate

NUM_REPLICATES = 40_000


def behind(num_images, num_classes=1, num_deciding=None):
    return ImagesBehind(
        per_class=float(num_images),
        freedom=float(num_classes * (num_images - 1)),
        reach=1 / num_images / math.sqrt(num_classes),
        num_deciding=num_deciding,
    )


def table(num_seeds=6, num_images=25, seed_spread=1.0, image_spread=1.0, rest_spread=1.0):
    rng = np.random.default_rng(0)
    shape = (num_seeds, num_images)
    return (
        seed_spread * rng.normal(size=(num_seeds, 1))
        + image_spread * rng.normal(size=(1, num_images))
        + rest_spread * rng.normal(size=shape)
    )


def replicates_of(values):
    """Bootstrap of the plain mean of a table, by matrix products with the drawn counts."""
    num_seeds, num_images = values.shape
    rng = np.random.default_rng(1)
    seeds, images = draw_resamples(np.zeros(num_images, np.int64), num_seeds, NUM_REPLICATES, rng)
    by_seed = values @ images.astype(float) / num_images
    return values.mean(axis=1), by_seed.mean(axis=0), (by_seed * seeds.T).mean(axis=0)


@pytest.mark.parametrize("spreads", [(1.0, 1.0, 1.0), (0.2, 1.0, 3.0), (2.0, 0.5, 0.5), (0.5, 2.0, 0.0)])
def test_the_variance_of_a_mean_is_that_of_the_two_way_anova(spreads):
    values = table(6, 25, *spreads)
    frame = pd.DataFrame(
        {
            "value": values.ravel(),
            "seed": np.repeat(np.arange(6), 25),
            "image": np.tile(np.arange(25), 6),
        }
    )
    squares = anova_lm(ols("value ~ C(seed) + C(image)", frame).fit())["mean_sq"]
    ms_seeds, ms_images, ms_rest = squares["C(seed)"], squares["C(image)"], squares["Residual"]
    expected = max(ms_seeds, ms_images, ms_seeds + ms_images - ms_rest) / values.size
    found = crossed_error(*replicates_of(values), behind(25))
    assert found.error**2 == pytest.approx(expected, rel=0.05)
    assert found.share_of_units == pytest.approx(ms_seeds / values.size / expected, rel=0.05)
    assert (found.units_freedom, found.images_freedom) == (5, 24)


def test_the_bootstraps_own_variance_counts_the_rest_three_times():
    """The statement of Owen 2007 that the correction rests on."""
    _, _, both = replicates_of(table(seed_spread=0.0, image_spread=0.0, num_seeds=30, num_images=200))
    assert both.var() == pytest.approx(3 / (30 * 200), rel=0.15)


def test_where_images_agree_it_is_students_interval_over_seeds():
    values = np.random.default_rng(3).normal(0.1, 0.05, 12)
    rng = np.random.default_rng(2)
    seeds, _ = draw_resamples(np.zeros(20, np.int64), 12, NUM_REPLICATES, rng)
    found = estimate(values, np.full(NUM_REPLICATES, values.mean()), seeds @ values / 12, 0.5, behind(10_000))
    expected = stats.ttest_1samp(values, 0, alternative="greater")
    both_sides = stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((both_sides.low, both_sides.high), abs=0.001)
    assert found.p == pytest.approx(expected.pvalue, rel=0.05)
    assert found.value == pytest.approx(values.mean())


def test_one_seed_has_the_spread_of_images_alone():
    values = table(1, 30, 0.0, 1.0, 0.0)
    found = crossed_error(*replicates_of(values), behind(30))
    assert found.error**2 == pytest.approx(values.var(ddof=1) / 30, rel=0.03)
    assert (found.share_of_units, found.images_freedom) == (0, 29)


def test_a_quantile_lies_between_those_of_seeds_and_images_and_its_tail_is_its_inverse():
    of_seeds, of_images = stats.t(2).ppf(0.975), stats.t(50).ppf(0.975)
    for share in (0.0, 0.3, 1.0):
        error = Error(error=1.0, share_of_units=share, units_freedom=2.0, images_freedom=50.0)
        assert error.quantile(0.975) == pytest.approx(share * of_seeds + (1 - share) * of_images)
        for statistic in (-40.0, -1.0, 0.0, 0.4, 3.0, 200.0):
            tail = error.upper_tail(statistic)
            if 1e-9 < tail < 1 - 1e-9:
                assert error.quantile(1 - tail) == pytest.approx(statistic, abs=1e-6)
        assert error.upper_tail(1.0) == pytest.approx(1 - error.upper_tail(-1.0))


def test_where_nothing_differs_three_quarters_of_an_image_of_each_class_count_as_differing():
    same = np.full(100, 0.8)
    found = estimate(np.full(4, 0.8), same, same, 0.8, behind(20))
    # F1 = 2 TP / 40 moves by (2 - 0.8) / 40 with one hit more
    assert found.error.error == pytest.approx(math.sqrt(0.75) * 1.2 / 40)
    half = stats.t(19).ppf(0.975) * found.error.error
    assert (found.low, found.value, found.high) == pytest.approx((0.8 - half, 0.8, 0.8 + half))


def test_where_images_differ_enough_nothing_is_added_to_their_variance():
    values = table(1, 30, 0.0, 0.2, 0.0)
    parts = replicates_of(values)
    found = estimate(*parts, 0.5, behind(30))
    assert values.var(ddof=1) / 30 > 0.75 * (1.5 / 60) ** 2, "more than three quarters of an image"
    assert found.error.error == crossed_error(*parts, behind(30)).error


@pytest.mark.parametrize("num_images", [1, 2, 4, 5, 6, 9])
def test_few_images_cannot_carry_a_small_p_value(num_images: int):
    """A class that goes from no hit to all of them: scipy's exact sign test, at each number of images."""
    same = np.full(100, 1.0)
    found = estimate(np.ones(5), same, same, 0.5, behind(max(2, num_images), num_deciding=num_images))
    exact = stats.binomtest(num_images, num_images, alternative="greater")
    assert found.p >= exact.pvalue - 1e-12
    assert (found.p < 0.025) == (found.low > 0)
    if num_images == 4:
        assert found.p >= 0.06


NUM_CLASSES, NUM_SEEDS = 4, 5
GROUPS = np.array([[0.5, 0.5, 0.0, 0.0]])


def simulated(rng, num_per_class, num_seeds, seed_spread, image_spread, rest_spread):
    """Predictions of two arms: right where a seed's, an image's and a private effect add up to more than 0."""
    true_ids = np.repeat(np.arange(NUM_CLASSES), num_per_class)
    num = len(true_ids)
    score = np.array([0.2, 0.6])[:, None, None]
    score = score + seed_spread * rng.normal(size=(2, num_seeds, 1))
    score = score + image_spread * (rng.normal(size=(1, 1, num)) + 0.7 * rng.normal(size=(2, 1, num)))
    score = score + rest_spread * rng.normal(size=(2, num_seeds, num))
    wrong = (true_ids + rng.integers(1, NUM_CLASSES, num)) % NUM_CLASSES
    return true_ids, np.where(score > 0, true_ids, wrong)


def f1_of(true_ids, predicted_ids):
    found = multiclass_f1_score(torch.from_numpy(predicted_ids), torch.from_numpy(true_ids), NUM_CLASSES, average=None)
    return found.double().numpy()


def true_gain(spreads):
    rng = np.random.default_rng(7)
    gains = []
    for _ in range(20):
        true_ids, predictions = simulated(rng, 3000, 50, *spreads)
        f1 = np.array([[f1_of(true_ids, one) for one in of_arm] for of_arm in predictions]) @ GROUPS[0]
        gains.append(f1[1].mean() - f1[0].mean())
    return np.mean(gains)


def share_covered(spreads, num_draws=500, num_per_class=30):
    truth, rng, covered, found_all = true_gain(spreads), np.random.default_rng(11), 0, []
    for _ in range(num_draws):
        true_ids, predictions = simulated(rng, num_per_class, NUM_SEEDS, *spreads)
        counts = draw_resamples(true_ids, NUM_SEEDS, 400, rng)
        r = resampled_f1(predictions, true_ids, GROUPS, *counts)
        parts = [part[0, 1] - part[0, 0] for part in (r.units, r.images_only, r.both)]
        found = estimate(*parts, float(r.units.mean()), behind(num_per_class, num_classes=2))
        covered += found.low <= truth <= found.high
        found_all.append(found)
    needed = 2 * 1.96 * np.std([found.value for found in found_all])
    assert np.median([found.high - found.low for found in found_all]) < 1.5 * needed
    return covered / num_draws


@pytest.mark.parametrize(
    ("spreads", "most"),
    [
        ((0.1, 1.0, 0.4), 0.98),
        pytest.param((0.4, 0.5, 0.5), 0.98, marks=pytest.mark.slow),
        # no seed has an effect: with five of them that cannot be known, so the interval is wider than it need be
        pytest.param((0.0, 0.6, 0.8), 0.99, marks=pytest.mark.slow),
        pytest.param((0.0, 1.0, 0.0), 0.98, marks=pytest.mark.slow),
    ],
)
def test_intervals_cover_the_true_gain_in_92_to_98_percent(spreads: tuple[float, float, float], most: float):
    """Mostly images; mostly seeds; much that is peculiar to a seed and image; images alone."""
    assert 0.92 <= share_covered(spreads) <= most
