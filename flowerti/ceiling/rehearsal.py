"""Chooses rehearsal classes, and which of their training images each draw keeps.

A weak class has no unseen real images to spare. A strong one does, once it is cut down to as few: what more of its
images bring there says what any image could bring. This module does not know how a classifier is trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from flowerti.artifacts.identity import seed_for
from flowerti.config.ceiling import CeilingConfig

MIN_KEPT = 2
"""Images that a rehearsal class keeps at least."""
ENOUGH_SPARE = 20
"""Unseen images with which a class is as good for a rehearsal as one with more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """Rehearsal classes, and the order in which each draw takes their images."""

    class_ids: tuple[int, ...]
    num_kept: int
    """Real images that each class keeps."""
    num_more: tuple[int, ...]
    """Numbers of further images that every class has."""
    orders: tuple[dict[int, Int64[np.ndarray, "_"]], ...]
    """Of each draw: by class, the rows of its training images; the first `num_kept` are kept, the others are unseen."""

    def rows(self, train_ids: Int64[np.ndarray, " num"], draw: int, num_more: int = 0) -> Int64[np.ndarray, " rows"]:
        """Rows to train on: all images of the other classes, and of each rehearsal class those kept and some more."""
        others = np.flatnonzero(~np.isin(train_ids, self.class_ids))
        kept = [self.orders[draw][class_id][: self.num_kept + num_more] for class_id in self.class_ids]
        return np.sort(np.concatenate([others, *kept]))

    def unseen(self, draw: int) -> Int64[np.ndarray, " rows"]:
        """Rows of the most unseen images that are tried in a draw."""
        some = slice(self.num_kept, self.num_kept + self.num_more[-1])
        return np.sort(np.concatenate([self.orders[draw][class_id][some] for class_id in self.class_ids]))


def choose_rehearsal(
    train_ids: Int64[np.ndarray, " num"],
    f1: Mapping[int, float],
    weak_ids: Sequence[int],
    config: CeilingConfig,
    class_names: Sequence[str],
) -> tuple[tuple[int, ...], int] | None:
    """The rehearsal classes, and how many images each keeps: as many as a weak class has, but at most half its own.

    Of the classes that are not weak those with enough images to spare come first, and among these the ones with the
    lowest F1: what is easily told from all others is recognised from few images already, and gains nothing from more.

    Args:
        train_ids: class of each training image.
        f1: validation F1 of each class.
        weak_ids: the weak classes.
        config: the rehearsal classes by name, or how many at most.
        class_names: of all classes, by id.

    Returns:
        None where no class has images to spare.

    Raises:
        ValueError: a class that is named is weak or has no images to spare; names it.
    """
    counts = np.bincount(train_ids)
    num_weak_images = round(float(np.mean([counts[class_id] for class_id in weak_ids])))
    spare = {
        class_id: min(ENOUGH_SPARE, int(counts[class_id]) - min(num_weak_images, int(counts[class_id]) // 2))
        for class_id in f1
        if class_id not in weak_ids and counts[class_id] >= 2 * MIN_KEPT
    }
    named = [class_names.index(name) for name in config.class_names]
    for class_id in named:
        if class_id not in spare:
            reason = "is weak itself" if class_id in weak_ids else f"has fewer than {2 * MIN_KEPT} training images"
            raise ValueError(f"ceiling.class_names: {class_names[class_id]!r} {reason}: name another class, or none")
    by_rule = sorted(spare, key=lambda one: (-spare[one], f1[one], one))[: config.num_classes]
    chosen = sorted(named or by_rule)
    if not chosen:
        return None
    return tuple(chosen), max(MIN_KEPT, min(num_weak_images, *(int(counts[one]) // 2 for one in chosen)))


def draw_rehearsal(
    train_ids: Int64[np.ndarray, " num"],
    chosen: tuple[tuple[int, ...], int],
    num_more: Sequence[int],
    num_draws: int,
    run_seed: int,
) -> Rehearsal:
    """Put the images of each rehearsal class in a random order, once for each draw.

    Args:
        train_ids: class of each training image.
        chosen: what `choose_rehearsal` returned.
        num_more: numbers of further images; those that a class does not have are left out.
        num_draws: at least 1.
        run_seed: seed of the run.
    """
    class_ids, num_kept = chosen
    members = {class_id: np.flatnonzero(train_ids == class_id) for class_id in class_ids}
    fewest = min(len(rows) for rows in members.values()) - num_kept
    orders = tuple(
        {
            class_id: np.random.default_rng(seed_for(run_seed, str(class_id), "ceiling/draw", draw)).permutation(rows)
            for class_id, rows in members.items()
        }
        for draw in range(num_draws)
    )
    found = tuple(num for num in num_more if num <= fewest) or (fewest,)
    return Rehearsal(class_ids=class_ids, num_kept=num_kept, num_more=found, orders=orders)
