"""The bootstrap against the two-way analysis of variance of statsmodels, Student's interval, and simulation."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from torchmetrics.functional.classification import multiclass_f1_score

from flowerti.sweep.bootstrap import crossed_variance, draw_resamples, estimate, resampled_f1

NUM_REPLICATES = 40_000


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
    variance, freedom = crossed_variance(*replicates_of(values), 25.0)
    assert variance == pytest.approx(expected, rel=0.05)
    satterthwaite = (expected * values.size) ** 2 / (ms_seeds**2 / 5 + ms_images**2 / 24)
    assert freedom == pytest.approx(satterthwaite, rel=0.1)


def test_the_bootstraps_own_variance_counts_the_rest_three_times():
    """The statement of Owen 2007 that the correction rests on."""
    _, _, both = replicates_of(table(seed_spread=0.0, image_spread=0.0, num_seeds=30, num_images=200))
    assert both.var() == pytest.approx(3 / (30 * 200), rel=0.15)


def test_where_images_agree_it_is_students_interval_over_seeds():
    values = np.random.default_rng(3).normal(0.1, 0.05, 12)
    rng = np.random.default_rng(2)
    seeds, _ = draw_resamples(np.zeros(20, np.int64), 12, NUM_REPLICATES, rng)
    found = estimate(values, np.full(NUM_REPLICATES, values.mean()), seeds @ values / 12, 20.0)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.004)
    assert found.value == pytest.approx(values.mean())


def test_one_seed_has_the_spread_of_images_alone():
    values = table(1, 30, 0.0, 1.0, 0.0)
    variance, freedom = crossed_variance(*replicates_of(values), 30.0)
    assert variance == pytest.approx(values.var(ddof=1) / 30, rel=0.03)
    assert freedom == 29


def test_without_spread_the_interval_is_the_value():
    found = estimate(np.full(4, 0.25), np.full(100, 0.25), np.full(100, 0.25), 20.0)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)
    assert found.p == 1 / 101


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
        found = estimate(*(part[0, 1] - part[0, 0] for part in (r.seeds, r.images_only, r.both)), float(num_per_class))
        covered += found.low <= truth <= found.high
        found_all.append(found)
    needed = 2 * 1.96 * np.std([found.value for found in found_all])
    assert np.median([found.high - found.low for found in found_all]) < 1.5 * needed
    return covered / num_draws


@pytest.mark.parametrize(
    "spreads",
    [
        (0.1, 1.0, 0.4),
        pytest.param((0.4, 0.5, 0.5), marks=pytest.mark.slow),
        pytest.param((0.0, 0.6, 0.8), marks=pytest.mark.slow),
        pytest.param((0.0, 1.0, 0.0), marks=pytest.mark.slow),
    ],
)
def test_intervals_cover_the_true_gain_in_92_to_98_percent(spreads):
    """Mostly images; mostly seeds; much that is peculiar to a seed and image (all of it: 98 %); images alone."""
    assert 0.92 <= share_covered(spreads) <= 0.98
