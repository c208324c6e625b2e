"""Adjusted p-values and intervals of shares, by hand and against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from flowerti.sweep.significance import holm_by, wilson


def test_holm_is_the_step_down_rule():
    """Holm 1979: the k-th smallest of m times m - k + 1, made monotone."""
    p_values, families = [0.01, 0.04, 0.03, 0.2, 0.5], ["a", "a", "a", "b", "b"]
    assert holm_by(p_values, families) == pytest.approx([0.03, 0.06, 0.06, 0.4, 0.5])


def test_holm_and_wilson_are_those_of_statsmodels():
    rng = np.random.default_rng(0)
    for num in (1, 4, 9):
        p_values = rng.random(num) ** 3
        expected = multipletests(p_values, method="holm")[1]
        np.testing.assert_allclose(holm_by(p_values.tolist(), [0] * num), expected, atol=1e-12)
    for share in (0.0, 0.13, 0.5, 1.0):
        expected = proportion_confint(share * 17, 17, method="wilson")
        assert wilson(share, 17) == pytest.approx(expected, abs=1e-12)
