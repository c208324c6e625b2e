"""The arrays that all trials share, and their validation before the first trial.

This module does not know where the arrays come from, nor how anything is trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from flowerti.artifacts.identity import num_synthetic
from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.rounds import TrialPlan
from flowerti.tables.arms import Arm
from flowerti.tables.sources import SOURCES


class PoolKey(NamedTuple):
    """The synthetic images of a class and source, of one learning where each has images of its own."""

    class_id: int
    source: str
    learning: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedLabels:
    """Labels of images that were drawn from another class's."""

    own_share: Float64[np.ndarray, " made"]
    """Share of the label that is the pool's class's, in [0, 1]."""
    source_ids: Int64[np.ndarray, " made"]
    """The class that has the rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialData:
    """Arrays that all trials share: features [num, views, dim] or, for full fine-tuning, images [num, h, w, 3]."""

    train: np.ndarray
    """Training images, and after them those of other draws."""
    train_ids: Int64[np.ndarray, " num"]
    augmented: np.ndarray | None
    """Strongly augmented views of the same images; None if no arm uses them or in full fine-tuning."""
    evaluation: np.ndarray
    synthetic: dict[PoolKey, np.ndarray]
    num_classes: int
    augmented_synthetic: dict[PoolKey, np.ndarray] = field(default_factory=dict)
    """Strongly augmented views of the same synthetic images, for arms that augment; empty like `augmented`."""
    weights: dict[PoolKey, Float64[np.ndarray, " made"]] = field(default_factory=dict)
    """Non-negative curation weights of the images of a pool; pools without an entry have weight 1 throughout."""
    labels: dict[PoolKey, SharedLabels] = field(default_factory=dict)
    """Of pools whose images an arm labels otherwise than with their class."""
    num_parts: int = 1
    """Parts that the images of a pool are divided into; a repetition uses one of them."""
    round_trips: np.ndarray | None = None
    """The training images after the base's autoencoder, row by row; None if no arm uses them."""
    augmented_round_trips: np.ndarray | None = None
    """Strongly augmented views of these; None like `augmented`."""
    draws: tuple[Int64[np.ndarray, " drawn"], ...] = ()
    """Rows of `train` in each draw of the training images; empty where there is one draw, of all rows."""

    def rows(self, draw: int) -> Int64[np.ndarray, " drawn"]:
        """The rows of the training images in a draw."""
        return self.draws[draw] if self.draws else np.arange(len(self.train_ids))

    def pools_of(self, arm: Arm, learning: int) -> list[tuple[int, PoolKey]]:
        """The ids of the weak classes that an arm adds images to, each with the pool that it uses."""
        if not arm.pool:
            return []
        wanted = learning if SOURCES[arm.pool].is_per_learning else 0
        found = [pool for pool in self.synthetic if (pool.source, pool.learning) == (arm.pool, wanted)]
        takers = sorted(pool.class_id for pool in found)
        givers = takers[1:] + takers[:1] if arm.donor == "next" else takers
        return [(taker, PoolKey(giver, arm.pool, wanted)) for taker, giver in zip(takers, givers, strict=True)]

    def kept(self, pool: PoolKey, part: int) -> Int64[np.ndarray, " kept"]:
        """Indices of the images in a part of a pool that have a positive curation weight."""
        weights, num = self.weights.get(pool), len(self.synthetic[pool])
        # images [part N / P, (part + 1) N / P): a partition whose parts differ by at most one image
        whole = np.arange(part * num // self.num_parts, (part + 1) * num // self.num_parts)
        return whole if weights is None else whole[weights[whole] > 0]

    def num_added(self, class_id: int, pool: PoolKey, ratio: float, repetition: Repetition) -> int:
        """Number of images of a pool that a class gets at a ratio.

        Raises:
            ValueError: more than were made and kept; says how many to draw.
        """
        drawn = self.train_ids[self.rows(repetition.draw)]
        count = num_synthetic(ratio, int((drawn == class_id).sum()))
        num_kept, num_made = len(self.kept(pool, repetition.pool)), len(self.synthetic[pool])
        if count > num_kept:
            in_part = num_made // self.num_parts
            made = f"{num_made} were made" + (f" in {self.num_parts} parts" if self.num_parts > 1 else "")
            made += "" if num_kept >= in_part else f" and {num_kept} of them kept"
            needed = (count + max(0, in_part - num_kept)) * self.num_parts
            raise ValueError(
                f"ratio {ratio:g} asks for {count} synthetic images of class {class_id}, {made}: "
                f"set sampling.num_per_class to at least {needed}"
            )
        return count


def check_trial_data(data: TrialData) -> None:
    """Reject invalid arrays before the first trial.

    Raises:
        ValueError: a class has no training image, a feature is not finite, a pool is empty, or weights are unfit.
    """
    missing = sorted(set(range(data.num_classes)) - set(data.train_ids.tolist()))
    if missing:
        raise ValueError(f"training split: class {missing[0]} has no image: each class needs some in each split")
    arrays = {"training": data.train, "evaluation": data.evaluation}
    arrays |= {_name_of(pool): array for pool, array in data.synthetic.items()}
    arrays |= {f"augmented {_name_of(pool)}": array for pool, array in data.augmented_synthetic.items()}
    of_training = {
        "augmented": data.augmented,
        "round trips": data.round_trips,
        "augmented round trips": data.augmented_round_trips,
    }
    arrays |= {name: array for name, array in of_training.items() if array is not None}
    for name, array in arrays.items():
        if len(array) == 0:
            raise ValueError(f"images {name!r}: there are none: draw some, or leave out the arm")
        if not np.isfinite(array).all():
            raise ValueError(f"images {name!r}: features hold NaN or infinite values: look for broken images")
    for pool, weights in data.weights.items():
        fit = len(weights) == len(data.synthetic[pool]) and np.isfinite(weights).all() and weights.min() >= 0
        if not fit:
            raise ValueError(f"weights of {_name_of(pool)!r}: must be one finite number of at least 0 for each image")


def _name_of(pool: PoolKey) -> str:
    learning = f", learning {pool.learning}" if pool.learning else ""
    return f"{pool.source} of class {pool.class_id}{learning}"


def check_ratios(data: TrialData, plans: Sequence[TrialPlan]) -> None:
    """Reject a trial whose arm has no images, and a ratio that requires more than were generated and kept.

    Raises:
        ValueError: says how many to draw.
    """
    for plan in plans:
        pools = data.pools_of(plan.arm, plan.repetition.learning)
        if plan.arm.pool and not pools:
            learning = plan.repetition.learning
            raise ValueError(f"trial {plan.name}: no class has images of learning {learning}: draw them")
        if plan.arm.source and plan.arm.level == "ratio":
            for class_id, pool in pools:
                data.num_added(class_id, pool, plan.ratio, plan.repetition)
