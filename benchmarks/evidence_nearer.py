"""How often "nearer" is claimed where it is false, and where it is true, by simulation; prints one JSON object.

`python benchmarks/evidence_nearer.py` answers for 10, 40 and 64 images and four separations, the largest about that of
sets drawn from names; `--candidates exchange jackknife_t` does the same with tests that were not chosen. The worlds are
those of `nearer_worlds`.
"""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.nearer_candidates import CANDIDATES
from benchmarks.nearer_worlds import Drawer, World
from benchmarks.paired import print_result
from flowerti.artifacts.identity import seed_for
from flowerti.metrics.wilson import wilson_interval

LEVEL = 0.05
NUM_IMAGES = (10, 40, 64)
SEPARATIONS = (0.0, 0.05, 0.2, 0.6)
"""Kernel distance of both sets to the real images; at 0 all images come from one distribution."""
SPREADS = {
    "narrow near": World(near=0.2, far=0.2, near_spread=0.5),
    "narrow far": World(near=0.2, far=0.2, far_spread=0.5),
}
"""Sets of unequal spread at one distance."""
TRUE_DIFFERENCES = {
    "0.05 and 0.25": World(near=0.05, far=0.25),
    "0.2 and 0.6": World(near=0.2, far=0.6),
    "0.6 and 1.0": World(near=0.6, far=1.0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Counts the claims of "nearer"."""

    quick: bool = False
    """At most 100 draws."""
    tiny: bool = False
    """As little as has every part of the answer; its numbers mean nothing."""
    candidates: tuple[str, ...] = ("chosen",)
    """Names of `nearer_candidates`."""
    num_images: tuple[int, ...] = NUM_IMAGES
    """Images in each of the three sets."""
    num_draws: int = 500
    """Simulated comparisons in each world."""
    seed: int = 0


def main() -> None:
    """Simulate and print."""
    options = tyro.cli(Options)
    num_draws = min(options.num_draws, 5 if options.tiny else 100 if options.quick else options.num_draws)
    false_worlds = {f"{separation:g}": World(near=separation, far=separation) for separation in SEPARATIONS} | SPREADS
    cells = itertools.product(options.candidates, options.num_images[: 1 if options.tiny else None])
    details: dict[str, Any] = {"level": LEVEL, "num_draws": num_draws, "false_nearer": {}, "found_nearer": {}}
    for candidate, num in cells:
        for kind, worlds in (("false_nearer", false_worlds), ("found_nearer", TRUE_DIFFERENCES)):
            of_candidate = details[kind].setdefault(candidate, {})
            of_candidate[str(num)] = {
                name: claimed_nearer(world, num, num_draws, options.seed, candidate) for name, world in worlds.items()
            }
    print_result("evidence_nearer", {}, details)


def false_nearer(num_images: int, separation: float, num_draws: int, seed: int) -> dict[str, float]:
    """How often "nearer" is claimed at the 5 % level between two sets that lie equally far from the real images.

    Args:
        num_images: in each of the three sets, at least 4.
        separation: kernel distance of both sets to the real images; they move in different directions, and are one
            distribution with the real images at 0.
        num_draws: simulated comparisons.
        seed: of the draws.

    Returns:
        "value" in [0, 1], and its 95 % Wilson interval under "low" and "high".
    """
    return claimed_nearer(World(near=separation, far=separation), num_images, num_draws, seed)


def claimed_nearer(
    world: World, num_images: int, num_draws: int, seed: int, candidate: str = "chosen", num_exchanges: int = 399
) -> dict[str, float]:
    """How often one of the tests claims at the 5 % level that the first set of a world lies nearer than the second."""
    drawer, test = Drawer(world), CANDIDATES[candidate]
    # all candidates see the same images
    images, exchanges = (
        np.random.default_rng(seed_for(seed, repr(world), f"nearer/{purpose}", num_images))
        for purpose in ("images", "exchanges")
    )
    num_claims = sum(
        test(*drawer.draw(num_images, images), num_exchanges, exchanges) <= LEVEL for _ in range(num_draws)
    )
    low, high = wilson_interval(num_claims, num_draws)
    return {"value": num_claims / num_draws, "low": low, "high": high}


if __name__ == "__main__":
    main()
