"""Which images a base may see: the training split of a labelled data source, without the classes that are held out.

It names images, opens them only where a cut has to know which of them are alike, and does not know what a base
learns from them.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

from flowerti.config.data import DataConfig, ImbalanceConfig
from flowerti.data.access import list_records
from flowerti.data.dataset import Dataset, Record, Split
from flowerti.data.duplicate_groups import duplicate_groups
from flowerti.data.image_pass import ImagePass
from flowerti.data.imbalance import imbalanced, makes_cut


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
    """Images of the allowed splits and of classes that are not held out."""


def list_allowed(allowed: AllowedImages, splits: Sequence[Split] = ("train",)) -> AllowedRecords:
    """List the images that a base may see, in the order of the data set.

    Args:
        allowed: which images they are.
        splits: whose images are listed; a base that a run can be judged with has seen training images only.

    Raises:
        ValueError: the data set is incomplete, or a held-out class is unknown, or none is left, or an image that a
            cut has to look at cannot be read; names it.
    """
    listed = list_records(allowed.data, allowed.split_seed, is_pooled=allowed.imbalance.resplit)
    alike = _alike(listed, allowed.data) if makes_cut(listed, allowed.imbalance) else []
    dataset = imbalanced(listed, allowed.imbalance, allowed.split_seed, alike)
    check_held_out(allowed.held_out_classes, dataset.class_names)
    held_out = {dataset.class_names.index(name) for name in allowed.held_out_classes}
    records = tuple(r for r in dataset.records if r.split in splits and r.class_id not in held_out)
    return AllowedRecords(dataset=dataset, records=records)


def _alike(listed: Dataset, data: DataConfig) -> list[list[str]]:
    return duplicate_groups(listed.records, ImagePass(data, with_thumbnails=True))


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
