"""The simulated worlds against drawn images, and a short form of the evidence, which the test used before must fail."""

import numpy as np
import pytest

from benchmarks.evidence_nearer import NUM_IMAGES, SEPARATIONS, claimed_nearer, false_nearer
from benchmarks.nearer_candidates import CANDIDATES
from benchmarks.nearer_worlds import Drawer, World, mean_kernel
from flowerti.metrics.kernel import gram, kernel_distance


def test_the_mean_kernel_is_that_of_many_draws():
    rng = np.random.default_rng(0)
    (mean_x, mean_y), (variance_x, variance_y) = rng.normal(size=(2, 3)), rng.uniform(0.2, 2, size=(2, 3))
    x, y = (m + np.sqrt(v) * rng.normal(size=(3000, 3)) for m, v in ((mean_x, variance_x), (mean_y, variance_y)))
    assert mean_kernel(mean_x, variance_x, mean_y, variance_y) == pytest.approx(gram(x, y).mean(), rel=0.05)


@pytest.mark.parametrize(
    "world", [World(near=0.2, far=0.2), World(near=0.2, far=0.6), World(near=0.3, far=0.3, near_spread=0.5)]
)
def test_drawn_sets_lie_as_far_as_the_world_says(world):
    drawer, rng = Drawer(world), np.random.default_rng(1)
    found = []
    for _ in range(4):
        real, near, far = drawer.draw(600, rng)
        distances = [kernel_distance(*pair) for pair in ((near, real), (far, real), (near, far))]
        found.append([*distances, near.var(axis=0).sum() / real.var(axis=0).sum()])
    to_near, to_far, between, spread = np.mean(found, axis=0)
    # standard deviations of about 0.02 to each, and 0.01 of the spread
    assert (to_near, to_far) == pytest.approx((world.near, world.far), abs=0.07)
    assert spread == pytest.approx(world.near_spread, abs=0.05)
    # the two sets differ from each other by more than either from the real images
    assert between > 0.85 * (world.near + world.far)


def test_a_distance_below_that_of_the_spread_is_refused():
    with pytest.raises(ValueError, match=r"^distance: 0\.0; a spread of 0\.5 alone gives 0\.0"):
        Drawer(World(near_spread=0.5))


@pytest.mark.parametrize("separation", [SEPARATIONS[0], SEPARATIONS[-1]])
def test_sets_that_lie_equally_far_seldom_count_as_nearer(separation):
    # of 200 claims at 5 % fewer than 3 or more than 19 come once in 500 runs
    found = false_nearer(40, separation, num_draws=200, seed=1)
    assert 0.015 <= found["value"] <= 0.095
    assert found["low"] < found["value"] < found["high"]


def test_what_was_used_before_fails_that():
    world = World(near=SEPARATIONS[-1], far=SEPARATIONS[-1])
    assert claimed_nearer(world, 40, 200, seed=1, candidate="exchange")["value"] > 0.13


def test_a_jackknife_alone_never_claims_anything_at_separation_0():
    assert claimed_nearer(World(), 40, 200, seed=1, candidate="jackknife_t")["value"] < 0.015


@pytest.mark.slow
@pytest.mark.parametrize("num_images", NUM_IMAGES)
@pytest.mark.parametrize("separation", SEPARATIONS)
def test_at_equal_distance_3_to_7_per_cent_are_claimed(num_images, separation):
    assert 0.03 <= false_nearer(num_images, separation, num_draws=500, seed=0)["value"] <= 0.07


def test_every_candidate_finds_what_is_clear():
    for name in CANDIDATES:
        assert claimed_nearer(World(near=0.0, far=2.0), 10, 5, seed=0, candidate=name)["value"] == 1, name
