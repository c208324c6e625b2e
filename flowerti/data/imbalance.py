"""Makes a data set imbalanced: a re-split, an exponential long tail, minority classes at its end, a binary task.

Oxford 102's official training split has exactly 10 images per class, so a factor of 0.1 would leave between 10 and 1:
no frequent classes, and single images to train a token on. Only the pooled 8,189 images are imbalanced (40 to 258 per
class). Therefore the splits can be pooled and re-split by class: test and validation are sampled first, with the same
shares for every class, and the long tail is applied to the rest. A class is then few-shot in training only, and its
share of validation and test images is that of any other class. Every choice is a seeded permutation of ids, and the
study saves the result. Scores on a re-split are not comparable with those on the official split, nor with other
projects' private splits. Images that are alike stay on one side of a re-split. Splits that a data set lacks are cut out
of its training images first (`missing_splits`).

This module opens no image and does not know about models or synthetic images.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from flowerti.artifacts.identity import seed_for
from flowerti.config.data import ImbalanceConfig
from flowerti.data.dataset import Dataset, Record, Split, check_class_name, check_counts
from flowerti.data.grouped_split import kept_together
from flowerti.data.missing_splits import num_held_out, with_all_splits

ShotGroup = Literal["many", "medium", "few"]
SHOT_GROUPS: tuple[ShotGroup, ...] = ("many", "medium", "few")


def shot_group(num_train: int) -> ShotGroup:
    """More than 100 training images, 20 to 100, or fewer than 20 (Liu et al. 2019, OLTR)."""
    return "many" if num_train > 100 else "medium" if num_train >= 20 else "few"


def makes_cut(dataset: Dataset, config: ImbalanceConfig) -> bool:
    """Whether `imbalanced` decides what is held out, so that it must know which images are alike."""
    return config.resplit or bool(dataset.missing)


def imbalanced(dataset: Dataset, config: ImbalanceConfig, seed: int, alike: Sequence[Sequence[str]] = ()) -> Dataset:
    """Apply the config to a data set; with the defaults one that has all splits is returned unchanged.

    Args:
        dataset: all images.
        config: settings of re-split, long tail, minority classes and binary task.
        seed: run seed.
        alike: ids of images that a cut must keep on one side, from `duplicate_groups.duplicate_groups`.

    Raises:
        ValueError: a named class does not exist or has too few images, or a split would be left without a class;
            names it.
    """
    for field, names in (("minority_classes", config.minority_classes), ("positive_classes", config.positive_classes)):
        for name in names:
            check_class_name(dataset, f"imbalance.{field}", name)
    if config.resplit:
        dataset = _resplit(dataset, config, seed, alike)
    elif dataset.missing:
        shares: dict[Split, float] = {"test": config.test_share, "validation": config.validation_share}
        dataset = with_all_splits(dataset, shares, seed, alike, config.min_held_out)
    if config.leaves_out:
        dataset = _cut_down(dataset, config, seed)
    if config.positive_classes:
        dataset = _binary(dataset, config.positive_classes)
    check_counts(dataset)
    return dataset


def tail_sizes(num_available: Sequence[int], factor: float, minority: Sequence[int] = ()) -> list[int]:
    """Number of training images that each class keeps: n_max * factor ** (k / (K - 1)), with its rank k.

    Classes are ranked by size, the largest first, with the minority classes last, in the order given. A class keeps at
    least one image and at most all that it has.

    Source: Cui et al. 2019 (Class-Balanced Loss), section 5.1, for the exponential profile.

    Args:
        num_available: training images of each class.
        factor: the last class's size as a share of the first one's, in (0, 1].
        minority: indices of the classes that are put last.

    Returns:
        Sizes in the order of num_available.
    """
    last = list(dict.fromkeys(minority))
    others = sorted(set(range(len(num_available))) - set(last), key=lambda i: (-num_available[i], i))
    largest, num_classes = max(num_available), len(num_available)
    sizes = [0] * num_classes
    for place, i in enumerate(others + last):
        wanted = round(largest * factor ** (place / (num_classes - 1)))
        sizes[i] = max(1, min(num_available[i], wanted))
    return sizes


def _of_class(dataset: Dataset, class_id: int, split: Split | None = None) -> list[Record]:
    found = [r for r in dataset.records if r.class_id == class_id and split in (None, r.split)]
    return sorted(found, key=lambda record: record.id)


def _shuffled(records: list[Record], seed: int) -> list[Record]:
    return [records[i] for i in np.random.default_rng(seed).permutation(len(records))]


def _resplit(dataset: Dataset, config: ImbalanceConfig, seed: int, alike: Sequence[Sequence[str]]) -> Dataset:
    split_of: dict[str, Split] = {}
    orders = [
        _shuffled(_of_class(dataset, class_id), seed_for(seed, name, "imbalance/split", 0))
        for class_id, name in enumerate(dataset.class_names)
    ]
    for records in orders:
        num_test, num_validation = (
            num_held_out(len(records), share, config.min_held_out)
            for share in (config.test_share, config.validation_share)
        )
        for place, record in enumerate(records):
            held_out: Split = "test" if place < num_test else "validation"
            split_of[record.id] = held_out if place < num_test + num_validation else "train"
    split_of = kept_together(split_of, orders, alike, seed)
    records = tuple(Record(r.id, r.class_id, split_of[r.id], r.address) for r in dataset.records)
    return replace(dataset, records=records, missing=())


def _cut_down(dataset: Dataset, config: ImbalanceConfig, seed: int) -> Dataset:
    names = dataset.class_names
    pools = [_of_class(dataset, class_id, "train") for class_id in range(len(names))]
    minority = [names.index(name) for name in config.minority_classes]
    sizes = tail_sizes([len(pool) for pool in pools], config.factor, minority)
    for i in minority if config.minority_images else ():
        if len(pools[i]) < config.minority_images:
            raise ValueError(
                f"imbalance.minority_images: class {names[i]!r} has {len(pools[i])} training images, not "
                f"{config.minority_images}: ask for fewer"
            )
        sizes[i] = config.minority_images
    kept: set[str] = set()
    for name, pool, size in zip(names, pools, sizes, strict=True):
        # a smaller factor keeps a subset of the images of a larger one
        order = _shuffled(pool, seed_for(seed, name, "imbalance/train", 0))
        kept |= {record.id for record in order[:size]}
    return replace(dataset, records=tuple(r for r in dataset.records if r.split != "train" or r.id in kept))


def _binary(dataset: Dataset, positive: tuple[str, ...]) -> Dataset:
    wanted = {dataset.class_names.index(name) for name in positive}
    names = ("other classes", positive[0] if len(positive) == 1 else " or ".join(positive))
    records = tuple(Record(r.id, int(r.class_id in wanted), r.split, r.address) for r in dataset.records)
    return replace(dataset, class_names=names, records=records)
