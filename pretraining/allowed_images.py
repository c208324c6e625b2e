"""Which images a base may see: the training split of a labelled data source, without the classes that are held out.

It names images and opens none, and does not know what a base learns from them.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

from flowerti.config.data import DataConfig, ImbalanceConfig
from flowerti.data.access import list_records
from flowerti.data.dataset import Dataset, Record
from flowerti.data.imbalance import imbalanced


@dataclass(frozen=True, kw_only=True, slots=True)
class AllowedImages:
    """Which images a base may see; the defaults are the shipped base."""

    data: DataConfig = field(default_factory=lambda: DataConfig(kind="herbarium"))
    """Where labelled images come from; only the training split is read."""
    imbalance: ImbalanceConfig = field(default_factory=ImbalanceConfig)
    """How the data set is cut first, as in the runs that will use the base."""
    split_seed: int = 0
    """Run seed of that cut: the seed of the runs that will use the base."""
    held_out_classes: tuple[str, ...] = ()
    """Classes of which the base sees no image and no name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AllowedRecords:
    """The listed images that a base may see."""

    dataset: Dataset
    """The whole data set, for the names of all classes."""
    records: tuple[Record, ...]
    """Training images of classes that are not held out."""


def list_allowed(allowed: AllowedImages) -> AllowedRecords:
    """List the images that a base may see, in the order of the data set.

    Raises:
        ValueError: the data set is incomplete, or a held-out class is unknown, or none is left; names it.
    """
    listed = list_records(allowed.data, allowed.split_seed)
    dataset = imbalanced(listed, allowed.imbalance, allowed.split_seed)
    check_held_out(allowed.held_out_classes, dataset.class_names)
    held_out = {dataset.class_names.index(name) for name in allowed.held_out_classes}
    records = tuple(record for record in dataset.of("train") if record.class_id not in held_out)
    return AllowedRecords(dataset=dataset, records=records)


def check_held_out(held_out: Sequence[str], class_names: Sequence[str]) -> None:
    """Refuse classes that do not exist, or that leave nothing to learn from.

    Raises:
        ValueError: a name is unknown, or all classes are held out; names it.
    """
    for name in held_out:
        if name not in class_names:
            close = difflib.get_close_matches(name, class_names) or class_names[:5]
            raise ValueError(f"held_out_classes: unknown class {name!r}: did you mean {', '.join(close)}?")
    if set(held_out) >= set(class_names):
        raise ValueError("held_out_classes: all classes are held out: leave at least one to learn from")
