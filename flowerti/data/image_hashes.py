"""The hash of every image's content, taken anew only where its file's size or times have changed, as git does.

What was taken before is kept in a file of the run directory, which may be lost: then every image is opened again. This
module does not know what the hashes are for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from flowerti.data.access import reader_of
from flowerti.data.dataset import Record
from flowerti.data.image_pass import ImagePass


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownHashes:
    """What was taken from images before."""

    hashes: dict[str, str] = field(default_factory=dict)
    """By id the stamp of its file and, after a space, the SHA-256 of what identifies the image; nothing after the space
    where it cannot be read."""


class ImageHashes:
    """Hashes of images; those that are not known are taken by opening the images."""

    def __init__(self, known: KnownHashes | None, images: ImagePass) -> None:
        """Takes what is known from before, and the pass that opens images."""
        self._known = dict(known.hashes) if known else {}
        self._images = images
        self.has_changed = False
        """Whether there is something to keep."""

    def of(self, records: Sequence[Record]) -> list[str]:
        """The SHA-256 of what identifies each image; empty of one that cannot be read and may be skipped.

        Raises:
            ValueError: an image cannot be read and unreadable ones are not to be skipped; names it.
        """
        stamps = {record.id: stamp_of(record) for record in records}
        new = [record for record in records if not self._is_known(record.id, stamps[record.id])]
        # the stamp is older than the look: what is changed in between has another stamp the next time
        for record, look in zip(new, self._images.of(new), strict=True):
            self._known[record.id] = f"{stamps[record.id]} {look.digest}"
            self.has_changed = True
        return [self._known[record.id].rpartition(" ")[2] for record in records]

    @property
    def known(self) -> KnownHashes:
        """All that is known now."""
        return KnownHashes(hashes=self._known)

    def _is_known(self, image_id: str, stamp: str) -> bool:
        return image_id in self._known and self._known[image_id].rpartition(" ")[0] == stamp


def stamp_of(record: Record) -> str:
    """What changes whenever an image is replaced, without opening it."""
    return str(reader_of(record.address).stamp_of(record.address))
