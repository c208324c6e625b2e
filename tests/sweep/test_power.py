"""What a sweep can detect, against what sweeps with planted effects then do detect."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.evidence_sweep import analysis_of, false_recommendation, true_gain
from benchmarks.simulated_sweeps import World
from flowerti.sweep.power import FEW, Repeated, detectable_gain, images_needed, units_needed
from flowerti.sweep.rounds import Cell
from flowerti.tables.arms import BASELINE, judged_arm

CELL, REAL = Cell(judged_arm(), 1.0), Cell(BASELINE, 0.0)


@pytest.mark.parametrize(("num_weak", "num_per_class"), [(3, 40), (1, 40), (3, 10)])
def test_it_is_about_what_a_sweep_then_says(num_weak: int, num_per_class: int):
    world = World(
        num_weak=num_weak, num_per_class=num_per_class, ratios=(1.0,), share_effect=(0.2,), content_effect=(0.0,)
    )
    rng, told, shares = np.random.default_rng(0), [], []
    for _ in range(40):
        analysis, _ = analysis_of(world, rng)
        told.append(analysis.contrast(CELL, REAL).detectable_effect)
        places = [analysis._grid.cells.index(cell) for cell in (CELL, REAL)]
        one, other = analysis._grid.predictions[places]
        shares.append((one != other)[:, np.isin(world.true_ids, world.weak_ids)].mean())
    expected = detectable_gain(num_weak, num_per_class, float(np.mean(shares)))
    assert np.median(told) == pytest.approx(expected, rel=0.35)


def test_for_many_images_it_is_mcnemars_power_on_the_scale_of_f1():
    """(z_0.95 + z_0.8) sqrt(d / n) of a hit rate, times (2 - F1) / 2 at F1 0.5."""
    expected = (stats.norm.ppf(0.95) + stats.norm.ppf(0.8)) * np.sqrt(0.3 / 5000) * 0.75
    assert detectable_gain(1, 5000, 0.3) == pytest.approx(expected, rel=0.01)
    assert detectable_gain(4, 5000, 0.3) == pytest.approx(expected / 2, rel=0.01)


def test_the_images_needed_are_the_fewest():
    for gain in (0.2, 0.05, 0.01):
        needed = images_needed(gain, 3, 0.3)
        assert detectable_gain(3, needed, 0.3) <= gain < detectable_gain(3, needed - 1, 0.3)


def test_a_spread_between_learnings_adds_to_the_images():
    """By Student's quantiles of both, weighted by their shares of the variance."""
    alone, num = detectable_gain(3, 4000, 0.2), 5
    found = detectable_gain(3, 4000, 0.2, Repeated(0.1, num))
    expected = (stats.t.ppf(0.95, num - 1) + stats.t.ppf(0.8, num - 1)) * 0.1 / np.sqrt(num)
    assert found == pytest.approx(expected, rel=0.01), "with many images hardly anything else is left"
    assert detectable_gain(3, 4000, 0.2, Repeated(0.0, num)) == alone
    assert found > detectable_gain(3, 4000, 0.2, Repeated(0.1, num + 1)) > alone


def test_the_learnings_needed_are_the_fewest_or_none():
    needed = units_needed(0.1, 3, 100, 0.2, std=0.08)
    assert needed is not None
    gains = [detectable_gain(3, 100, 0.2, Repeated(0.08, num)) for num in (needed - 1, needed)]
    assert gains[1] <= 0.1 < gains[0]
    assert units_needed(0.1, 3, 4, 0.2, std=0.0) is None, "the images are too few"


def test_a_planted_gain_is_found_with_the_images_that_it_asks_for():
    """Of +0.05, by the rule itself, which asks for two differences at once; one of 0 is not."""
    num_images = images_needed(0.05, 3, FEW)
    planted = World(
        ratios=(1.0,), share_effect=(0.0,), content_effect=(0.13,), num_per_class=num_images, num_replications=4
    )
    assert true_gain(planted, 3000, seed=1) == pytest.approx(0.05, abs=0.004)
    found = false_recommendation(planted, num_sweeps=40, seed=5)["num_found"]
    assert found >= stats.binom.ppf(0.001, 40, 0.7)
    nothing = replace(planted, share_effect=(0.13,), content_effect=(0.0,))
    assert false_recommendation(nothing, num_sweeps=40, seed=6)["num_found"] <= stats.binom.ppf(0.999, 40, 0.05)


@pytest.mark.parametrize("asked", [(0, 40, 0.2), (3, 1, 0.2), (3, 40, 0.0), (3, 40, 1.5)])
def test_numbers_out_of_range_are_refused(asked: tuple[int, int, float]):
    with pytest.raises(ValueError, match="at least 1 weak class and 2 held-out images"):
        detectable_gain(*asked)
    with pytest.raises(ValueError, match="spread of at least 0 between at least 2 units"):
        detectable_gain(3, 40, 0.2, Repeated(0.1, 1))
    with pytest.raises(ValueError, match=r"a gain of 1 is not in \(0, 1\)"):
        images_needed(1.0, 3, 0.2)
