"""Labelled images as records: splits, class names, and checks of completeness.

A data set is a list of records; images are read by workers when needed, by their addresses. This module does not
know where a data set comes from, and opens no image.
"""

import difflib
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Literal

from flowerti.artifacts.identity import ALL_CLASSES

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled image."""

    id: str
    class_id: int
    split: Split
    address: str
    """Where it is, on any machine that has the data set; `flowerti.data.access` reads it."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Class names in the order of their ids, and all records."""

    class_names: tuple[str, ...]
    records: tuple[Record, ...]

    def of(self, split: Split, class_name: str | None = None) -> list[Record]:
        """The records of a split, of one class or of all."""
        class_id = None if class_name is None else self.class_names.index(class_name)
        return [r for r in self.records if r.split == split and class_id in (None, r.class_id)]


def check_counts(dataset: Dataset) -> None:
    """Reject an incomplete data set.

    Raises:
        ValueError: a name that is no UTF-8, fewer than 2 classes, a duplicate id, a class without images in a split, or
            one with the name that stands for all classes; names it.
    """
    _refuse_broken_names(dataset)
    twice = [name for name, count in Counter(r.id for r in dataset.records).items() if count > 1]
    if twice:
        raise ValueError(f"data: image id {twice[0]!r} occurs twice ({len(twice)} such ids): list each image once")
    if len(dataset.class_names) < 2:
        raise ValueError(f"data: {len(dataset.class_names)} classes found: at least 2 are needed")
    if ALL_CLASSES in dataset.class_names:
        raise ValueError(f"data: class {ALL_CLASSES!r} has the name that stands for all classes: rename it")
    counts = count_by_split(dataset)
    for class_id, class_name in enumerate(dataset.class_names):
        for split in SPLITS:
            if counts[class_id, split] == 0:
                raise ValueError(
                    f"data: class {class_name!r} has no images in the {split} split: "
                    "each class needs some in each split"
                )


def _refuse_broken_names(dataset: Dataset) -> None:
    """Reject names of files whose bytes are no UTF-8: no record and no page could hold them."""
    texts = (text for record in dataset.records for text in (record.id, record.address))
    for text in (*dataset.class_names, *texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"data: {text!a} holds bytes that are no UTF-8: rename it") from error


def check_class_name(dataset: Dataset, field: str, name: str) -> None:
    """Reject an unknown class.

    Raises:
        ValueError: begins with the setting's `field`, and suggests classes with similar names.
    """
    if name not in dataset.class_names:
        close = difflib.get_close_matches(name, dataset.class_names) or dataset.class_names[:5]
        raise ValueError(f"{field}: unknown class {name!r}: did you mean {', '.join(close)}?")


def count_by_split(dataset: Dataset) -> dict[tuple[int, Split], int]:
    """Number of images of each (class id, split)."""
    counts: dict[tuple[int, Split], int] = defaultdict(int)
    for record in dataset.records:
        counts[record.class_id, record.split] += 1
    return counts


def without(dataset: Dataset, ids: list[str]) -> Dataset:
    """The data set without the records of those ids."""
    left_out = set(ids)
    return Dataset(dataset.class_names, tuple(r for r in dataset.records if r.id not in left_out))
