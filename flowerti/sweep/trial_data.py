"""The arrays that all trials share, and their validation before the first trial.

This module does not know where the arrays come from, nor how anything is trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from flowerti.artifacts.identity import num_synthetic
from flowerti.sweep.rounds import Cell
from flowerti.tables.arms import Arm

PoolKey = tuple[int, str]
"""Class id and source of a pool of synthetic images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialData:
    """Arrays that all trials share: features [num, views, dim] or, for full fine-tuning, images [num, h, w, 3]."""

    train: np.ndarray
    train_ids: Int64[np.ndarray, " num"]
    augmented: np.ndarray | None
    """Strongly augmented views of the training images; None if no arm uses them or in full fine-tuning."""
    evaluation: np.ndarray
    synthetic: dict[PoolKey, np.ndarray]
    num_classes: int
    weights: dict[PoolKey, Float64[np.ndarray, " made"]] = field(default_factory=dict)
    """Non-negative curation weights of the images of a pool; pools without an entry have weight 1 throughout."""

    def pools_of(self, arm: Arm) -> list[tuple[int, PoolKey]]:
        """The ids of the weak classes that an arm adds images to, each with the pool that it uses."""
        takers = sorted(class_id for class_id, source in self.synthetic if source == arm.pool)
        givers = takers[1:] + takers[:1] if arm.donor == "next" else takers
        return [(taker, (giver, arm.pool)) for taker, giver in zip(takers, givers, strict=True)]

    def kept(self, pool: PoolKey) -> Int64[np.ndarray, " kept"]:
        """Indices of the pool's images with a positive curation weight."""
        weights, everything = self.weights.get(pool), np.arange(len(self.synthetic[pool]))
        return everything if weights is None else everything[weights > 0]

    def num_added(self, class_id: int, pool: PoolKey, ratio: float) -> int:
        """Number of images of a pool that a class gets at a ratio.

        Raises:
            ValueError: more than were made and kept; says how many to draw.
        """
        count = num_synthetic(ratio, int((self.train_ids == class_id).sum()))
        num_kept, num_made = len(self.kept(pool)), len(self.synthetic[pool])
        if count > num_kept:
            made = f"{num_made} were made" + ("" if num_kept == num_made else f" and {num_kept} of them kept")
            raise ValueError(
                f"ratio {ratio:g} asks for {count} synthetic images of class {class_id}, {made}: "
                f"set sampling.num_per_class to at least {count + num_made - num_kept}"
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
    if data.augmented is not None:
        arrays["augmented"] = data.augmented
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
    class_id, source = pool
    return f"{source} of class {class_id}"


def check_ratios(data: TrialData, cells: Sequence[Cell]) -> None:
    """Reject a ratio that requires more synthetic images than were generated and kept.

    Raises:
        ValueError: says how many to draw.
    """
    for arm, ratio in cells:
        if arm.source and not arm.replaces:
            for class_id, pool in data.pools_of(arm):
                data.num_added(class_id, pool, ratio)
