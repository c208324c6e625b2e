"""The preflight's look at the images: what is alike, the cut, the census, and what the base has seen of it.

Every image is opened at most once, and none where the run directory tells already what is in it and its file has the
same size and times as then. This module does not know why a class is selected or what a base is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.pending import PendingArtifacts
from flowerti.artifacts.records import AlikeImages, Census, SeenImages, SplitLists
from flowerti.artifacts.training_images import TrainingImages
from flowerti.config.data import DataConfig, ImbalanceConfig
from flowerti.data.census import census_key, listing_key, split_lists, take_census
from flowerti.data.dataset import Dataset, Record, without
from flowerti.data.draws import NO_SPARE, SpareDigests, SpareImages, spare_records
from flowerti.data.duplicate_groups import duplicate_groups
from flowerti.data.image_hashes import ImageHashes, KnownHashes
from flowerti.data.image_pass import ImagePass
from flowerti.data.imbalance import imbalanced, makes_cut
from flowerti.data.seen_images import count_seen
from flowerti.data.thumbnails import CORRELATION_LIMIT

_ALIKE_VERSION = 1
_SEEN_VERSION = 2
"""Versions of the records; increment one on a change to invalidate existing ones."""
_HASHES_KEY = "1"
"""The version of what is kept; each entry tells by its stamp whether it still holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected:
    """A data set after every image was opened."""

    dataset: Dataset
    """Cut as the config says, without unreadable images."""
    census: Census
    seen: SeenImages | None
    """What the base has seen of it; None where that is not known."""
    spare: SpareImages = NO_SPARE
    """What the long tail left out, where it was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What to look at, and where what was found before is."""

    data: DataConfig
    imbalance: ImbalanceConfig
    seed: int
    known: TrainingImages | None
    """What the base was trained on; None where it is not known."""
    artifacts: PendingArtifacts
    with_spare: bool = False
    """Whether to look at the training images that the long tail leaves out."""

    def of(self, listed: Dataset) -> Inspected:
        """Look at the listed images.

        Raises:
            ValueError: an image cannot be read, or a split would be left without a class; names it.
        """
        hash_size_px = self.known.image_size_px if self.known and self.known.sha256 else 0
        is_cut = makes_cut(listed, self.imbalance)
        images = ImagePass(self.data, hash_size_px=hash_size_px, with_thumbnails=is_cut)
        hashes = ImageHashes(self.artifacts.find(layout.IMAGE_HASHES, KnownHashes, _HASHES_KEY), images)
        alike = self._alike(listed, images, hashes) if is_cut else []
        dataset = imbalanced(listed, self.imbalance, self.seed, alike)
        key = census_key(dataset, self.data, hashes)
        census = self.artifacts.get(layout.CENSUS, Census, key, lambda: take_census(dataset, self.data, images))
        readable = without(dataset, census.unreadable)
        splits = split_lists(readable)
        self.artifacts.get(layout.SPLITS, SplitLists, splits.sha256, lambda: splits)
        left_out = spare_records(listed, dataset, self.imbalance, self.seed, alike) if self.with_spare else {}
        spare = self._spare(dataset, left_out, images, hashes)
        if hashes.has_changed:
            self.artifacts.put(layout.IMAGE_HASHES, hashes.known, _HASHES_KEY)
        return Inspected(dataset=readable, census=census, seen=self._seen(readable, census, images), spare=spare)

    def _spare(
        self, dataset: Dataset, left_out: dict[str, list[Record]], images: ImagePass, hashes: ImageHashes
    ) -> SpareImages:
        """The readable ones of the images that were left out."""
        records = [record for of_class in left_out.values() for record in of_class]
        if not records:
            return NO_SPARE
        key = key_of(listing_key(Dataset(dataset.class_names, tuple(records)), hashes), self.data.skip_unreadable)
        found = self.artifacts.get(layout.SPARE, SpareDigests, key, lambda: _digests(records, images)).sha256
        kept = {name: [r for r in of_class if r.id in found] for name, of_class in left_out.items()}
        return SpareImages(
            records=kept, sha256={name: key_of([found[r.id] for r in of_class]) for name, of_class in kept.items()}
        )

    def _alike(self, listed: Dataset, images: ImagePass, hashes: ImageHashes) -> list[list[str]]:
        key = key_of(
            _ALIKE_VERSION,
            listing_key(listed, hashes),
            self.data.skip_unreadable,
            self.data.image_size_px,
            CORRELATION_LIMIT,
        )
        found = self.artifacts.get(
            layout.ALIKE, AlikeImages, key, lambda: AlikeImages(groups=duplicate_groups(listed.records, images))
        )
        return found.groups

    def _seen(self, dataset: Dataset, census: Census, images: ImagePass) -> SeenImages | None:
        known = self.known
        if known is None or not known.sha256:
            return known and count_seen(dataset, images, known)
        key = key_of(_SEEN_VERSION, census.fingerprint, known.fingerprint, known.image_size_px)
        return self.artifacts.get(layout.SEEN, SeenImages, key, lambda: count_seen(dataset, images, known))


def _digests(records: Sequence[Record], images: ImagePass) -> SpareDigests:
    looks = images.of(records)
    return SpareDigests(sha256={r.id: look.digest for r, look in zip(records, looks, strict=True) if look.digest})
