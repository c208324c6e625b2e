"""What the choice of settings rests on: how many images each class has in each split, the base, networks, the machine.

No image is opened but those of classes with few, where too many that are alike would leave a split empty. This module
chooses nothing but how the data is cut.
"""

from collections import Counter
from dataclasses import dataclass, replace

from flowerti.artifacts.records import ClassCount
from flowerti.base_checks.part_configs import resolution_px
from flowerti.base_checks.weight_files import stored_tensors
from flowerti.base_files import verify_base
from flowerti.choosing.folder_kind import kind_of
from flowerti.choosing.machine import Machine, find_machine
from flowerti.choosing.weights import backbones_here, inception_file
from flowerti.config.experiment import BaseConfig, DataConfig, ImbalanceConfig
from flowerti.data.access import list_records
from flowerti.data.census import class_counts
from flowerti.data.dataset import SPLITS, Dataset, Split, count_by_split, without_classes
from flowerti.data.duplicate_groups import duplicate_groups
from flowerti.data.image_pass import ImagePass
from flowerti.data.imbalance import imbalanced
from flowerti.study import MIN_HELD_OUT, unscorable

FEW = 3 * MIN_HELD_OUT
"""Images with which a class can be weak where a split is missing: enough held out twice, and as many to learn from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """How the data will be split, and what that leaves out."""

    counts: tuple[ClassCount, ...]
    """Of the classes that stay."""
    weak: tuple[ClassCount, ...]
    """Those with enough held-out images to be weak ones."""
    left_out: dict[str, str]
    """Classes that cannot be split, with the reason as a clause."""
    resplit: bool
    is_made: bool
    """Whether a split is cut by us."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known before settings are chosen."""

    root: str
    kind: str
    base: str
    base_px: int
    num_base_parameters: int
    """Of its U-Net."""
    cut: Cut
    backbones: tuple[str, ...]
    """Networks whose weights are here."""
    inception: str
    machine: Machine


def gather(root: str, base: str) -> Facts:
    """Look at a folder, a base and this machine.

    Args:
        root: folder, or table of paths.
        base: as `base.path`.

    Raises:
        ValueError: one of them cannot be used, or no class could be a weak one; names it and says what to do.
    """
    kind = kind_of(root)
    folder = verify_base(BaseConfig(path=base))
    data = DataConfig(kind=kind, root=root, image_size_px=resolution_px(folder), skip_unreadable=True)
    unet = stored_tensors(folder / "unet")
    return Facts(
        root=root,
        kind=kind,
        base=base,
        base_px=data.image_size_px,
        num_base_parameters=sum(_num_values(one.shape) for one in unet.values()),
        cut=find_cut(data),
        backbones=tuple(backbones_here()),
        inception=inception_file(),
        machine=find_machine(),
    )


def _num_values(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def find_cut(data: DataConfig) -> Cut:
    """The cut that leaves a data set's own splits as they are, or, where no class could then be weak, a new one.

    Raises:
        ValueError: there are no images, or no class could be weak in any cut; names the folder.
    """
    listed = list_records(data, 0, is_pooled=True)
    for resplit in (False, True):
        if "train" in listed.missing and not resplit:
            continue
        found = _cut(listed, data, resplit)
        if found is not None:
            return found
    raise ValueError(
        f"data.root: {data.root} has no class that could be weak beside another one: that takes {FEW} images of it, "
        f"{MIN_HELD_OUT} each to learn from, for validation and for test: add images"
    )


def _cut(listed: Dataset, data: DataConfig, resplit: bool) -> Cut | None:
    """None where fewer than two classes would be left, or none of them could be weak."""
    left_out = _unsplittable(listed, data, resplit)
    if len(listed.class_names) - len(left_out) < 2:
        return None
    config = ImbalanceConfig(resplit=resplit, min_held_out=MIN_HELD_OUT)
    drafted = imbalanced(without_classes(listed, list(left_out)), config, 0)
    counts = class_counts(drafted)
    barred = unscorable(drafted)
    weak = tuple(count for count in counts if count.class_name not in barred)
    is_made = resplit or bool(listed.missing)
    if not weak:
        return None
    return Cut(counts=tuple(counts), weak=weak, left_out=left_out, resplit=resplit, is_made=is_made)


def _unsplittable(listed: Dataset, data: DataConfig, resplit: bool) -> dict[str, str]:
    """Classes that would lack images in a split, with the reason as a clause."""
    counts, clauses = count_by_split(listed), {}
    present: list[Split] = [split for split in SPLITS if split not in listed.missing]
    num_parts = len(SPLITS) if resplit else 1 + len(listed.missing)
    small = []
    for class_id, name in enumerate(listed.class_names):
        own = [counts[class_id, split] for split in SPLITS]
        num_to_cut = sum(own) if resplit else own[0]
        empty = [] if resplit else [split for split in present if not counts[class_id, split]]
        if empty:
            clauses[name] = f"no image in the {' and the '.join(empty)} split"
        elif num_parts > 1 and num_to_cut < num_parts:
            clauses[name] = f"{num_to_cut} image{'' if num_to_cut == 1 else 's'} for {num_parts} splits"
        elif num_parts > 1 and num_to_cut < FEW:
            small.append(class_id)
    return clauses | _too_alike(listed, data, small, num_parts)


def _too_alike(listed: Dataset, data: DataConfig, class_ids: list[int], num_parts: int) -> dict[str, str]:
    """Of some classes those with fewer different images than splits."""
    records = [record for record in listed.records if record.class_id in class_ids]
    if not records:
        return {}
    images = ImagePass(replace(data, skip_unreadable=True), with_thumbnails=True)
    groups = duplicate_groups(records, images)
    unit_of = {name: group[0] for group in groups for name in group}
    readable = [r for r, look in zip(records, images.of(records), strict=True) if look.digest]
    units = Counter(class_id for class_id, _ in {(r.class_id, unit_of.get(r.id, r.id)) for r in readable})
    return {
        listed.class_names[class_id]: f"{units[class_id]} different readable images for {num_parts} splits"
        for class_id in class_ids
        if units[class_id] < num_parts
    }
