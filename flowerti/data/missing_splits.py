"""Cuts the splits that a data set lacks out of its training images, class by class.

An image's place in the cut follows from a hash of the run seed, its class and its id, so that a run finds the same cut
whenever it is started, and more images of a class leave almost all others where they were. Alike images stay on one
side, and splits that the data set has are left as they are. This module opens no image and does not know what makes
images alike.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flowerti.artifacts.identity import seed_for
from flowerti.data.dataset import Dataset, Record, Split
from flowerti.data.grouped_split import kept_together


def with_all_splits(
    dataset: Dataset,
    shares: Mapping[Split, float],
    seed: int,
    alike: Sequence[Sequence[str]],
    min_held_out: int = 1,
) -> Dataset:
    """Set aside a share of each class's training images for each split that is missing, and at least one.

    Args:
        dataset: all images; its training split is not missing.
        shares: of each class's training images, by split.
        seed: run seed.
        alike: ids of images that must stay on one side; those in splits that are not cut are left there.
        min_held_out: images of each class for each missing split at least, where it has three times as many.

    Returns:
        The data set with all splits, and with a note that says so.

    Raises:
        ValueError: a class has too few different training images; names it.
    """
    parts: dict[Split, float] = {split: shares[split] for split in shares if split in dataset.missing}
    pool = {record.id for record in dataset.of("train")}
    groups = [members for group in alike if len(members := [name for name in group if name in pool]) > 1]
    split_of: dict[str, Split] = {}
    orders = []
    for name in dataset.class_names:
        records = _ordered(dataset.of("train", name), seed_for(seed, name, "data/missing_splits", 0))
        if len(records) <= len(parts):
            raise ValueError(
                f"data: class {name!r} has {_images(len(records))}, too few to set {_named(parts)} images aside: "
                f"add images until it has {len(parts) + 1}, or remove the class"
            )
        split_of |= _cut(records, parts, min_held_out)
        orders.append(records)
    split_of = _refilled(kept_together(split_of, orders, groups, seed), orders, groups, parts)
    records = tuple(replace(r, split=split_of.get(r.id, r.split)) for r in dataset.records)
    found = replace(
        dataset, records=records, missing=(), notes=(*dataset.notes, _note(parts, seed, len(groups), min_held_out))
    )
    _check_cut(found, parts)
    return found


def _cut(records: Sequence[Record], parts: Mapping[Split, float], min_held_out: int) -> dict[str, Split]:
    """The first records go to the missing splits, one part after the other; at least one is left for training."""
    split_of: dict[str, Split] = {record.id: "train" for record in records}
    begin, num_wanted = 0, len(parts)
    for split, share in parts.items():
        num_wanted -= 1
        num_free = len(records) - begin - num_wanted - 1  # one for each part that follows, and one for training
        num = min(num_held_out(len(records), share, min_held_out), num_free)
        split_of |= {record.id: split for record in records[begin : begin + num]}
        begin += num
    return split_of


def num_held_out(num_images: int, share: float, min_held_out: int) -> int:
    """Images of a class that a cut sets aside for a held-out split."""
    return max(min_held_out if num_images >= 3 * min_held_out else 1, round(share * num_images))


def _refilled(
    split_of: Mapping[str, Split],
    orders: Sequence[Sequence[Record]],
    groups: Sequence[Sequence[str]],
    parts: Mapping[Split, float],
) -> dict[str, Split]:
    """Where a class lost its last image in a split to its groups, move the smallest group or image there."""
    cut: dict[str, Split] = dict(split_of)
    group_of = {name: tuple(group) for group in groups for name in group}
    for records in orders:
        names = {record.id for record in records}
        units = list(dict.fromkeys(group_of.get(record.id, (record.id,)) for record in records))
        lacking: list[Split] = [part for part in (*parts, "train") if all(cut[name] != part for name in names)]
        for split in lacking:
            num_units = Counter(cut[unit[0]] for unit in units)
            # a group with images of other classes stays: it would change their counts
            free = [unit for unit in units if num_units[cut[unit[0]]] > 1 and names.issuperset(unit)]
            if free:
                for name in min(free, key=len):
                    cut[name] = split
    return cut


def _ordered(records: Sequence[Record], class_seed: int) -> list[Record]:
    def place(record: Record) -> str:
        return hashlib.sha256(f"{class_seed}/{record.id}".encode(errors="surrogatepass")).hexdigest()

    return sorted(records, key=place)


def _check_cut(dataset: Dataset, parts: Mapping[Split, float]) -> None:
    whole: tuple[Split, ...] = ("train", *parts)
    for name in dataset.class_names:
        for split in whole:
            if not dataset.of(split, name):
                num = sum(len(dataset.of(part, name)) for part in whole)
                raise ValueError(
                    f"data: class {name!r} has {_images(num)}, but too many of them are alike to set {_named(parts)} "
                    "images aside without a copy in training: add different images, or remove the class"
                )


def _note(parts: Mapping[Split, float], seed: int, num_groups: int, min_held_out: int) -> str:
    shares = " and ".join(f"{share:.0%} for {split}" for split, share in sorted(parts.items(), reverse=True))
    least = f", and at least {min_held_out} each where a class has {3 * min_held_out}" if min_held_out > 1 else ""
    alike = f", {num_groups} group(s) of alike images kept together" if num_groups else ""
    return (
        f"there is no {_named(parts)} split: {shares} are set aside out of each class's training images"
        f"{least}, by seed {seed}{alike}"
    )


def _named(parts: Mapping[Split, float]) -> str:
    return " and ".join(sorted(parts, reverse=True))


def _images(num: int) -> str:
    return f"{num} training image{'' if num == 1 else 's'}"
