"""What an estimated difference says, against statsmodels' two one-sided tests and simulated power."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from flowerti.sweep.answers import answer_of, detectable_effect
from flowerti.sweep.intervals import Error, Estimate


def estimate_of(values: np.ndarray) -> Estimate:
    """The mean of independent values with Student's interval."""
    num = len(values)
    error = Error(
        error=float(values.std(ddof=1)) / math.sqrt(num),
        share_of_units=0.0,
        units_freedom=0.0,
        images_freedom=num - 1.0,
    )
    half = error.quantile(0.975) * error.error
    mean = float(values.mean())
    return Estimate(value=mean, low=mean - half, high=mean + half, p=0.5, error=error)


@pytest.mark.parametrize("mean", [-0.2, -0.06, -0.03, 0.0, 0.02, 0.04, 0.3])
def test_equivalence_is_that_of_two_one_sided_tests(mean: float):
    values = mean + 0.1 * np.random.default_rng(0).normal(size=30)
    found = answer_of(estimate_of(values), 0.05)
    described = DescrStatsW(values)
    p_value = described.ttost_mean(-0.05, 0.05)[0]
    if stats.ttest_1samp(values, 0).pvalue < 0.05:
        assert found == ("helps" if values.mean() > 0 else "harms")
    else:
        assert found == ("equivalent" if p_value < 0.05 else "undecided")


def test_the_four_answers():
    rng = np.random.default_rng(1)
    small, large = 0.01 * rng.normal(size=50), rng.normal(size=50)
    assert answer_of(estimate_of(small + 0.2), 0.05) == "helps"
    assert answer_of(estimate_of(small - 0.2), 0.05) == "harms"
    assert answer_of(estimate_of(small - small.mean()), 0.05) == "equivalent"
    assert answer_of(estimate_of(large - large.mean()), 0.05) == "undecided"


def test_the_detectable_effect_is_found_in_four_of_five():
    rng, num, error = np.random.default_rng(2), 20, 0.1
    reference = Error(error=error, share_of_units=0.0, units_freedom=0.0, images_freedom=num - 1.0)
    effect = detectable_effect(reference)
    draws = effect + error * math.sqrt(num) * rng.normal(size=(4000, num))
    found = stats.ttest_1samp(draws, 0, axis=1, alternative="greater").pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.02)
