"""Labelled images as records: splits, class names, and checks of completeness.

A data set is a list of records; images are read by workers when needed, by their addresses. This module does not
know where a data set comes from, and opens no image.
"""

import difflib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    missing: tuple[Split, ...] = ()
    """Splits that the source does not have; `imbalance.imbalanced` cuts them out of the training images."""
    notes: tuple[str, ...] = ()
    """What a person should know about how it was listed: which folder is which split, what was left out."""

    def of(self, split: Split, class_name: str | None = None) -> list[Record]:
        """The records of a split, of one class or of all."""
        class_id = None if class_name is None else self.class_names.index(class_name)
        return [r for r in self.records if r.split == split and class_id in (None, r.class_id)]


def check_counts(dataset: Dataset, where: str = "data") -> None:
    """Reject an incomplete data set; splits that are missing as a whole are not looked at.

    Args:
        dataset: the data set.
        where: what the error begins with.

    Raises:
        ValueError: as `check_classes`, or there is a class without images in a split; names it.
    """
    check_classes(dataset)
    counts = count_by_split(dataset)
    for class_id, class_name in enumerate(dataset.class_names):
        for split in SPLITS:
            if counts[class_id, split] == 0 and split not in dataset.missing:
                raise ValueError(
                    f"{where}: class {class_name!r} has no images in the {split} split: each class needs some in "
                    "each split: add some, remove the class, or pool and cut all images anew with imbalance.resplit"
                )


def check_classes(dataset: Dataset) -> None:
    """Reject a data set that is none, however it will be split.

    Raises:
        ValueError: a name that is no UTF-8, fewer than 2 classes, a duplicate id, or a class with the name that stands
            for all; names it.
    """
    _refuse_broken_names(dataset)
    twice = [name for name, count in Counter(r.id for r in dataset.records).items() if count > 1]
    if twice:
        raise ValueError(f"data: image id {twice[0]!r} occurs twice ({len(twice)} such ids): list each image once")
    if len(dataset.class_names) < 2:
        only = "".join(f", and all images are of {name!r}" for name in dataset.class_names)
        raise ValueError(f"data: {len(dataset.class_names)} classes found: at least 2 are needed{only}")
    if ALL_CLASSES in dataset.class_names:
        raise ValueError(f"data: class {ALL_CLASSES!r} has the name that stands for all classes: rename it")


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


def without_classes(dataset: Dataset, class_names: Sequence[str]) -> Dataset:
    """The data set without some classes, with a note that names them.

    Raises:
        ValueError: there is no class of that name.
    """
    if not class_names:
        return dataset
    for name in class_names:
        check_class_name(dataset, "data.left_out_classes", name)
    kept = tuple(name for name in dataset.class_names if name not in class_names)
    id_of = {dataset.class_names.index(name): class_id for class_id, name in enumerate(kept)}
    records = tuple(replace(r, class_id=id_of[r.class_id]) for r in dataset.records if r.class_id in id_of)
    num_images = len(dataset.records) - len(records)
    named = ", ".join(sorted(class_names))
    note = f"left out by data.left_out_classes: {named} ({num_images} image{'' if num_images == 1 else 's'})"
    return replace(dataset, class_names=kept, records=records, notes=(*dataset.notes, note))


def without(dataset: Dataset, ids: list[str]) -> Dataset:
    """The data set without the records of those ids."""
    left_out = set(ids)
    return replace(dataset, records=tuple(r for r in dataset.records if r.id not in left_out))
