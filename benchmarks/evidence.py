"""How often the sweep's answers are wrong, by simulation: `python benchmarks/evidence.py [--quick]` prints JSON.

False recommendations where images have no content, the rule's power where they have some, and the coverage of its
intervals; every world is one of `simulated_sweeps`. The p of "nearer" and the check for copies have benchmarks of their
own, `evidence_nearer` and `evidence_copies`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.evidence_sweep import coverage, false_recommendation, true_gain
from benchmarks.paired import print_result
from benchmarks.simulated_sweeps import Spreads, World
from flowerti.artifacts.identity import seed_for

NONE = (0.0,) * 4
SHARES = (0.3, 0.5, 0.7, 0.9)
"""What further images of a class add whatever they show, at each ratio; images differ by 1."""
REPLICATION = Spreads(draw=0.2, arm_of_draw=0.15)
"""Effects of a replication: its training images (F1 SD 0.07 at F1 0.5), its tokens and pools."""
NEAR_ONE = World(
    share_effect=(0.5,), content_effect=(0.0,), ratios=(1.0,), num_per_class=4, weak_recall=0.93, rest_recall=0.95
)

FALSE: dict[str, World] = {
    "shares_alone": World(share_effect=SHARES),
    "wrong_images": World(share_effect=SHARES, content_effect=(-0.1, -0.1, -0.2, -0.2)),
    **{
        f"content_0_at_{num}_replications": World(share_effect=SHARES, num_replications=num, spreads=REPLICATION)
        for num in (2, 3, 5, 10)
    },
    "content_0_at_4_learnings_of_3_seeds": World(
        share_effect=SHARES, num_replications=4, num_seeds=3, spreads=REPLICATION
    ),
    "saturated_cells": World(
        share_effect=(3.0, 3.5, 4.0, 4.0), num_per_class=4, weak_recall=0.05, rest_recall=0.97, spreads=REPLICATION
    ),
    **{
        f"fixed_mass_{name}": World(
            mass="fixed", ratios=(0.3, 0.6), content_effect=effect, num_replications=num, spreads=REPLICATION
        )
        for name, num, effect in (
            ("content_0_at_4_replications", 4, (0.0, 0.0)),
            ("content_0_at_10_replications", 10, (0.0, 0.0)),
            ("wrong_images", 4, (-0.2, -0.4)),
        )
    },
}
"""No images of these worlds have content: a recommendation is false."""
TRUE: dict[str, World] = {
    f"{name}_{gain}": World(
        num_classes=num_classes,
        num_per_class=num_per_class,
        num_replications=5,
        share_effect=NONE,
        content_effect=(effect,) * 4,
        rest_recall=0.9,
    )
    for name, num_classes, num_per_class in (("demo", 14, 40), ("flowers", 102, 10))
    for gain, effect in (("small", 0.145), ("large", 0.29))
} | {
    f"{name}_fixed_mass_{gain}": World(
        mass="fixed",
        ratios=(0.3, 0.6),
        num_classes=num_classes,
        num_per_class=num_per_class,
        num_replications=4,
        content_effect=(effect,) * 2,
        rest_recall=0.9,
    )
    for name, num_classes, num_per_class in (("demo", 14, 40), ("flowers", 102, 10))
    for gain, effect in (("small", 0.145), ("large", 0.29))
}
"""The same content at every ratio, beside no effect of the share: gains of about 0.05 and 0.10."""
COVERED: dict[str, World] = {
    **{
        f"{num}_images": World(
            ratios=(1.0,),
            share_effect=(0.3,),
            content_effect=(0.0,),
            num_per_class=num,
            num_replications=5,
            spreads=REPLICATION,
        )
        for num in (10, 40)
    },
    "40_images_4_learnings_of_3_seeds": World(
        ratios=(1.0,),
        share_effect=(0.3,),
        content_effect=(0.0,),
        num_replications=4,
        num_seeds=3,
        spreads=REPLICATION,
    ),
    "4_images_near_1": NEAR_ONE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Counts wrong and right answers."""

    quick: bool = False
    """A hundred sweeps of each world in place of 600; a few minutes on one core."""
    tiny: bool = False
    """As little as has every part of the answer; its numbers mean nothing."""
    seed: int = 0
    """Of all draws."""


def main() -> None:
    """Print the answer."""
    options = tyro.cli(Options, description=__doc__)
    print_result("evidence", {}, evidence(options))


def evidence(options: Options) -> dict[str, Any]:
    """All rates, each with its exact 95 % interval and the number of sweeps behind it."""
    num_sweeps = 2 if options.tiny else 100 if options.quick else 600
    num_images = 50 if options.tiny else 2000

    def seed(purpose: str) -> int:
        return seed_for(options.seed, "", f"evidence/{purpose}", 0)

    return {
        "num_sweeps": num_sweeps,
        "false_recommendation": {
            name: false_recommendation(world, num_sweeps, seed(name)) for name, world in FALSE.items()
        },
        "power": {
            name: false_recommendation(world, num_sweeps, seed(name))
            | {"true_gain": true_gain(world, num_images, seed(f"truth of {name}"))}
            for name, world in TRUE.items()
        },
        "coverage": {
            name: coverage(world, true_gain(world, num_images, seed(f"truth of {name}")), num_sweeps, seed(name))
            for name, world in COVERED.items()
        },
    }


if __name__ == "__main__":
    main()
