"""Keeps alike images on one side of a cut: moves whole groups, and swaps other images back to keep the counts.

The cut is made first, as if no two images were alike, and is changed only where it parts a group: a data set without
duplicates is cut as before. This module opens no image and does not know what makes images alike.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowerti.artifacts.identity import seed_for
from flowerti.data.dataset import SPLITS, Record, Split


@dataclass(frozen=True, kw_only=True, slots=True)
class _Move:
    """A group put into one split, and what that does to the counts."""

    target: Split
    swaps: tuple[tuple[str, Split], ...]
    """Images without a duplicate that change to the split which members of their class left."""
    num_moved: int
    num_unbalanced: int
    """Members for which there was nothing to swap: a class gains and loses as many images."""


def kept_together(
    split_of: Mapping[str, Split], orders: Sequence[Sequence[Record]], groups: Sequence[Sequence[str]], seed: int
) -> dict[str, Split]:
    """Put each group into one split, changing the cut as little as possible.

    A group goes to the split that keeps the counts of every class and split, and among those to the one that moves
    fewest images; equals are decided by the seed. For each member that moves, an image of its class that is in no group
    goes the other way. Where a class has none left there, its counts change by that image.

    Args:
        split_of: the cut, by image id.
        orders: the images of each class in random order; those that are swapped are the first in it.
        groups: ids of images that must stay together, of one or several classes; no image is in two groups.
        seed: run seed.

    Returns:
        The changed cut, by image id; equal to the given one where no group is parted.
    """
    cut: dict[str, Split] = dict(split_of)
    class_of = {record.id: record.class_id for order in orders for record in order}
    grouped = {name for group in groups for name in group}
    singles = [[record.id for record in order if record.id not in grouped] for order in orders]
    # large groups first: they need most images to swap with
    for group in sorted((sorted(group) for group in groups), key=lambda group: (-len(group), group)):
        if len({cut[name] for name in group}) == 1:
            continue
        moves = [_move_to(target, group, cut, class_of, singles) for target in SPLITS]
        best = min(moves, key=lambda m: (m.num_unbalanced, m.num_moved, seed_for(seed, group[0], _drawn(m.target), 0)))
        cut.update(dict.fromkeys(group, best.target))
        cut.update(best.swaps)
    return cut


def _drawn(target: Split) -> str:
    return f"imbalance/group/{target}"


def _move_to(
    target: Split,
    group: Sequence[str],
    cut: Mapping[str, Split],
    class_of: Mapping[str, int],
    singles: Sequence[Sequence[str]],
) -> _Move:
    moved: dict[int, list[Split]] = defaultdict(list)
    for name in group:
        if cut[name] != target:
            moved[class_of[name]].append(cut[name])
    swaps: list[tuple[str, Split]] = []
    for class_id, left in moved.items():
        free = [name for name in singles[class_id] if cut[name] == target]
        swaps += zip(free, left, strict=False)
    num_moved = sum(len(left) for left in moved.values())
    return _Move(target=target, swaps=tuple(swaps), num_moved=num_moved, num_unbalanced=num_moved - len(swaps))
