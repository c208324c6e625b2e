"""The census of a check: counts, sizes, copies, near duplicates and what looks suspicious, from one pass over images.

Nothing ends it early: what cannot be opened is counted. This module does not know what is done with the images.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flowerti.artifacts.records import ClassCount
from flowerti.config.data import DataConfig
from flowerti.data.census import change_sentences, class_counts
from flowerti.data.dataset import Dataset, Record
from flowerti.data.duplicate_groups import duplicate_groups
from flowerti.data.image_pass import ImagePass, Look
from flowerti.data.listing_notes import counted, first_of

_MAX_COMPARED = 30_000
"""Images up to which near duplicates are looked for: the time grows with the square of the number."""
_SMALL_SHARE = 0.5
"""Of the size at which a base draws, below which an image's shorter side makes it small."""
_DOMINANT_SHARE = 0.5
"""Of all images, above which a class of several dominates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Shorter sides of the readable images, in pixels."""

    smallest_px: int
    median_px: float
    largest_px: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageCensus:
    """What the images are like."""

    num_images: int
    counts: list[ClassCount]
    """As the data set's own splits have them."""
    sizes: Sizes | None
    """None for drawn images, and where none can be read."""
    unreadable: list[str] = field(default_factory=list)
    copies: list[list[str]] = field(default_factory=list)
    """Ids of images with the same bytes."""
    near_duplicates: list[list[str]] | None = None
    """Ids of images that look alike, copies among them; None where there were too many images to look."""
    several_classes: list[list[str]] = field(default_factory=list)
    """Groups of alike images in which not all are of one class."""
    notes: list[str] = field(default_factory=list)
    """What was left out, by kind, and what it takes to show images as RGB."""
    suspicious: list[str] = field(default_factory=list)


def look_at(dataset: Dataset, data: DataConfig) -> ImageCensus:
    """Open every image once.

    Args:
        dataset: all images.
        data: the data's settings; unreadable images are counted, whatever it says.
    """
    images = ImagePass(replace(data, skip_unreadable=True), with_thumbnails=True)
    looks = dict(zip((r.id for r in dataset.records), images.of(dataset.records), strict=True))
    unreadable = [name for name, look in looks.items() if not look.digest]
    can_compare = len(dataset.records) <= _MAX_COMPARED
    near = duplicate_groups(dataset.records, images) if can_compare else None
    copies = _copies(looks)
    class_of = {record.id: record.class_id for record in dataset.records}
    groups = copies if near is None else near
    return ImageCensus(
        num_images=len(dataset.records),
        counts=class_counts(dataset),
        sizes=_sizes(looks.values()),
        unreadable=unreadable,
        copies=copies,
        near_duplicates=near,
        several_classes=[group for group in groups if len({class_of[name] for name in group}) > 1],
        notes=[*dataset.notes, *change_sentences(dataset.records, list(looks.values()))],
        suspicious=[*_small(dataset.records, looks, data.image_size_px), *_dominant(dataset)],
    )


def _copies(looks: Mapping[str, Look]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name, look in looks.items():
        if look.digest:
            groups[look.digest].append(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _sizes(looks: Iterable[Look]) -> Sizes | None:
    sides = [min(look.size_px) for look in looks if look.size_px is not None]
    if not sides:
        return None
    return Sizes(smallest_px=min(sides), median_px=float(statistics.median(sides)), largest_px=max(sides))


def _small(records: Sequence[Record], looks: Mapping[str, Look], image_size_px: int) -> list[str]:
    limit_px = _SMALL_SHARE * image_size_px
    small = [r.id for r in records if (size := looks[r.id].size_px) is not None and min(size) < limit_px]
    if not small:
        return []
    num = counted(len(small), "image")
    return [f"{num} with a side below {limit_px:g} px, shown at {image_size_px} px ({first_of(small)})"]


def _dominant(dataset: Dataset) -> list[str]:
    counts = Counter(record.class_id for record in dataset.records)
    class_id, num = counts.most_common(1)[0]
    share = num / len(dataset.records)
    if len(dataset.class_names) < 3 or share <= _DOMINANT_SHARE:
        return []
    return [f"class {dataset.class_names[class_id]} has {share:.0%} of all images"]
