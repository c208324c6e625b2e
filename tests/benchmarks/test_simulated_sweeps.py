"""The planted worlds have the truth that they claim, and the rule holds its error rate in a short form of them."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.evidence_sweep import false_recommendation
from benchmarks.simulated_sweeps import Spreads, World, draw_trials
from flowerti.tables.arms import judged_arm


def hit_rates(world: World, seed: int = 0) -> dict[tuple[str, float], float]:
    """Share of the weak classes' images that each cell gets right."""
    trials = draw_trials(world, "validation", np.random.default_rng(seed))
    is_weak = np.isin(world.true_ids, world.weak_ids)
    return {(t.arm, t.ratio): float((np.array(t.predictions) == world.true_ids)[is_weak].mean()) for t in trials}


def test_a_world_has_the_recall_and_the_effects_that_were_planted():
    spreads = Spreads(image_of_arm=0.3, rest=0.1)
    world = World(
        num_per_class=20_000,
        num_replications=1,
        ratios=(1.0,),
        share_effect=(0.5,),
        content_effect=(0.2,),
        spreads=spreads,
    )
    found, spread = hit_rates(world), np.sqrt(1 + 0.3**2 + 0.1**2)
    start = stats.norm.ppf(0.4) * spread
    assert found["real", 0.0] == pytest.approx(0.4, abs=0.01)
    assert found["repeated", 1.0] == pytest.approx(stats.norm.cdf((start + 0.5) / spread), abs=0.01)
    assert found[judged_arm().name, 1.0] == pytest.approx(stats.norm.cdf((start + 0.7) / spread), abs=0.01)


def test_seeds_are_near_copies_where_little_is_peculiar_to_one():
    trials = draw_trials(World(num_per_class=2000), "validation", np.random.default_rng(0))
    first, second = (np.array(t.predictions) for t in trials[:2])
    assert 0.95 < (first == second).mean() < 0.995


@pytest.mark.parametrize("num_replications", [2, 5])
def test_images_without_content_are_hardly_ever_recommended(num_replications: int):
    """The rule as it was, adjusted over ratios for one of its two conditions alone, does so in 18 of 100."""
    world = World(share_effect=(0.3, 0.5, 0.7, 0.9), num_replications=num_replications)
    found = false_recommendation(world, num_sweeps=60, seed=1)
    assert found["num_found"] <= stats.binom.ppf(0.999, 60, 0.05)


def test_images_with_content_are_recommended():
    world = World(share_effect=(0.0,) * 4, content_effect=(0.2, 0.3, 0.4, 0.5))
    assert false_recommendation(world, num_sweeps=20, seed=2)["value"] >= 0.8
