"""Groups of classes over which the sweep averages F1: all, weak, the rest, single weak ones, and groups by size.

This module knows nothing about arms or predictions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from flowerti.data.imbalance import SHOT_GROUPS, ShotGroup, shot_group
from flowerti.sweep.intervals import ImagesBehind
from flowerti.sweep.question import SweepQuestion

ALL, WEAK, REST, FIRST_CLASS = range(4)
"""Indices of groups: one group per weak class from FIRST_CLASS on, followed by the groups by size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassGroups:
    """Groups of classes over which F1 is averaged: all, weak, rest, each weak class, and groups by training images."""

    weak: list[int]
    by_size: list[tuple[ShotGroup, list[int]]]
    weights: Float64[np.ndarray, "groups classes"]
    """Weight of each class in the mean of a group."""
    images: list[ImagesBehind]
    """What each group's mean rests on."""


def class_groups(question: SweepQuestion, true_ids: Int64[np.ndarray, " num"]) -> ClassGroups:
    """The groups of a sweep's classes.

    Raises:
        ValueError: no class is weak, or every one, or a class id is out of range.
    """
    everyone = list(range(len(question.class_names)))
    weak = _check_weak(len(everyone), question.weak_ids)
    by_size = _by_size(question.num_train)
    rest = [i for i in everyone if i not in weak]
    members = [everyone, weak, rest, *([i] for i in weak), *(ids for _, ids in by_size)]
    support = np.bincount(true_ids, minlength=len(everyone))
    return ClassGroups(
        weak=weak,
        by_size=by_size,
        weights=np.array([np.isin(everyone, ids) / len(ids) for ids in members]),
        images=[_images_behind(support[ids]) for ids in members],
    )


def _images_behind(support: Int64[np.ndarray, " classes"]) -> ImagesBehind:
    """What the mean over classes with these numbers of images rests on; classes without images cannot vary."""
    present = support[support > 0]
    return ImagesBehind(
        per_class=max(2.0, float(support.mean())),
        freedom=max(1.0, float((present - 1).sum())),
        reach=float(np.sqrt((1.0 / present**2).sum())) / len(support),
    )


def _check_weak(num_classes: int, weak_ids: Iterable[int]) -> list[int]:
    weak = sorted(set(weak_ids))
    if not weak or weak[0] < 0 or weak[-1] >= num_classes:
        raise ValueError(f"weak_ids: {weak}; name at least one class id in [0, {num_classes})")
    if len(weak) == num_classes:
        raise ValueError("weak_ids: every class is weak; leave one out to watch for harm")
    return weak


def _by_size(num_train: Sequence[int]) -> list[tuple[ShotGroup, list[int]]]:
    members: dict[ShotGroup, list[int]] = {name: [] for name in SHOT_GROUPS}
    for class_id, num in enumerate(num_train):
        members[shot_group(num)].append(class_id)
    return [(name, ids) for name, ids in members.items() if ids]
