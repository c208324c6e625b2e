"""The census of a data set: opens every image once, counts and hashes images, and finds duplicates across splits.

Its fingerprint is the key of artifacts that depend on all images, its digest of a class the key of those that depend on
the class's training images only; both depend on the content of the images, not on their location. This module does not
know where a data set comes from.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from flowerti.artifacts.identity import key_of
from flowerti.artifacts.records import Census, ClassCount, SplitLists
from flowerti.config.data import DataConfig
from flowerti.data.dataset import SPLITS, Dataset, Record, check_counts, count_by_split, without
from flowerti.data.image_hashes import ImageHashes
from flowerti.data.image_pass import ImagePass, Look
from flowerti.data.listing_notes import counted, first_of

_VERSION = 3
"""Version of the record; increment it on a change to invalidate existing censuses."""


def census_key(dataset: Dataset, config: DataConfig, hashes: ImageHashes) -> str:
    """Key of a census; it changes with the listing and its notes, the images' content and `skip_unreadable`.

    Raises:
        ValueError: as `ImageHashes.of`.
    """
    return key_of(_VERSION, listing_key(dataset, hashes), config.skip_unreadable, dataset.notes)


def listing_key(dataset: Dataset, hashes: ImageHashes) -> str:
    """Hash of the listed images and of their content.

    Raises:
        ValueError: as `ImageHashes.of`.
    """
    digests = hashes.of(dataset.records)
    rows = [(r.id, r.class_id, r.split, digest) for r, digest in zip(dataset.records, digests, strict=True)]
    return hashlib.sha256(json.dumps([dataset.class_names, rows]).encode()).hexdigest()


def split_lists(dataset: Dataset) -> SplitLists:
    """The ids of each split, saved so that a re-split can be cited and reproduced."""
    ids = {split: [record.id for record in dataset.of(split)] for split in SPLITS}
    return SplitLists(**ids, sha256=hashlib.sha256(json.dumps(ids).encode()).hexdigest())


def take_census(dataset: Dataset, config: DataConfig, images: ImagePass | None = None) -> Census:
    """Open every image once: count, hash, find unreadable ones and byte-identical ones across splits.

    Args:
        dataset: the images, in their splits.
        config: the data's settings.
        images: a pass over them, which may have opened some or all already; by default a new one.

    Raises:
        ValueError: an image cannot be read and config.skip_unreadable is off, or too few are left; names it.
    """
    looks = (images or ImagePass(config)).of(dataset.records)
    digests = {r.id: look.digest for r, look in zip(dataset.records, looks, strict=True) if look.digest}
    unreadable = [r.id for r in dataset.records if r.id not in digests]
    kept = without(dataset, unreadable)
    check_counts(kept)
    rows = sorted((r.id, r.class_id, r.split, digests[r.id]) for r in kept.records)
    return Census(
        fingerprint=hashlib.sha256(json.dumps([dataset.class_names, rows]).encode()).hexdigest(),
        counts=class_counts(kept),
        train_sha256=_train_digests(kept, digests),
        unreadable=unreadable,
        duplicates=_straddling_duplicates(kept, digests),
        notes=[*dataset.notes, *change_sentences(dataset.records, looks)],
    )


def census_sentences(census: Census) -> list[str]:
    """What a person should know before a run on these images: a sentence each."""
    nums = [sum(getattr(row, f"num_{split}") for row in census.counts) for split in SPLITS]
    parts = ", ".join(f"{num} {split}" for num, split in zip(nums, SPLITS, strict=True))
    sentences = [f"{sum(nums)} images of {len(census.counts)} classes: {parts}", *census.notes]
    if census.unreadable:
        num = counted(len(census.unreadable), "image")
        sentences.append(f"left out: {num} that cannot be read ({first_of(census.unreadable)})")
    return sentences


def class_counts(dataset: Dataset) -> list[ClassCount]:
    """Images of each class in each split, in the order of the class names."""
    counts = count_by_split(dataset)
    return [
        ClassCount(
            class_name=name,
            num_train=counts[i, "train"],
            num_validation=counts[i, "validation"],
            num_test=counts[i, "test"],
        )
        for i, name in enumerate(dataset.class_names)
    ]


def digest_of_class(census: Census, class_name: str) -> str:
    """Digest of a class's training images, for the keys of artifacts that depend on them.

    Returns:
        SHA-256, as 64 hexadecimal digits, over the SHA-256 digests (32 bytes each) of what identifies each image, in
        the order of the data set.

    Raises:
        ValueError: the census has no such class.
    """
    if class_name not in census.train_sha256:
        raise ValueError(f"class {class_name!r} is not in the census: it has {', '.join(census.train_sha256)}")
    return census.train_sha256[class_name]


def change_sentences(records: Sequence[Record], looks: Sequence[Look]) -> list[str]:
    """What was changed to show images as RGB, with how many and the first of them, most frequent first."""
    ids: dict[str, list[str]] = defaultdict(list)
    for record, look in zip(records, looks, strict=True):
        for change in look.changes:
            ids[change].append(record.id)
    ordered = sorted(ids.items(), key=lambda item: (-len(item[1]), item[0]))
    return [f"{counted(len(names), 'image')} {change} ({first_of(names)})" for change, names in ordered]


def _train_digests(dataset: Dataset, digests: Mapping[str, str]) -> dict[str, str]:
    of_class = [hashlib.sha256() for _ in dataset.class_names]
    for record in dataset.of("train"):
        of_class[record.class_id].update(bytes.fromhex(digests[record.id]))
    return {name: of_class[i].hexdigest() for i, name in enumerate(dataset.class_names)}


def _straddling_duplicates(dataset: Dataset, digests: Mapping[str, str]) -> list[list[str]]:
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in dataset.records:
        groups[digests[record.id]].append(record)
    return sorted(sorted(r.id for r in g) for g in groups.values() if len({r.split for r in g}) > 1)
