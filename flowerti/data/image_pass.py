"""One pass over the images of a data set: each is read and decoded once for all that the preflight takes from it.

What is taken: the digest of its content for the census, and where they are wanted the hash of its pixels, by which a
base's training images are recognised, and its thumbnail, by which near duplicates are. Threads share the work (Pillow
and hashlib release the interpreter's lock). This module does not know about splits, classes or bases.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, UInt8

from flowerti.config.data import DataConfig
from flowerti.data.access import reader_of
from flowerti.data.dataset import Record
from flowerti.data.images import decode_rgb, pixel_sha256, to_square
from flowerti.data.thumbnails import thumbnails

_TEST_PX = 8
"""Side to which an image is scaled where nothing but its readability matters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What was taken from one image."""

    digest: str
    """SHA-256 of its identifying bytes; empty if it is unreadable and may be skipped."""
    pixel_sha256: str = ""
    """Hash of its pixels; empty where none was wanted."""
    thumbnail: Float32[np.ndarray, " pixels"] | None = None
    """As `thumbnails` makes it; None where none was wanted."""
    changes: tuple[str, ...] = ()
    """What it took to show it as RGB, as `to_rgb` names it."""
    size_px: tuple[int, int] | None = None
    """Width and height of an encoded image; None of a drawn or an unreadable one."""


class ImagePass:
    """Opens images when they are first asked for, and remembers what it took from them."""

    def __init__(self, config: DataConfig, *, hash_size_px: int = 0, with_thumbnails: bool = False) -> None:
        """Say what will be taken.

        Args:
            config: the data's settings; thumbnails are those of images of its size.
            hash_size_px: side of the square whose pixels are hashed, in pixels; 0 for no hash.
            with_thumbnails: whether thumbnails are taken.
        """
        self._config, self._hash_size_px, self._with_thumbnails = config, hash_size_px, with_thumbnails
        self._looks: dict[str, Look] = {}

    def of(self, records: Sequence[Record]) -> list[Look]:
        """What was taken from each image, in the order of the records; images not seen yet are opened.

        Raises:
            ValueError: an image cannot be read and unreadable ones are not to be skipped; names it.
        """
        new = [record for record in records if record.address not in self._looks]
        with ThreadPoolExecutor() as threads:
            found = threads.map(self._look, new)
            self._looks |= {record.address: look for record, look in zip(new, found, strict=True)}
        return [self._looks[record.address] for record in records]

    def _look(self, record: Record) -> Look:
        try:
            reader = reader_of(record.address)
            content, sizes, changes, size_px = reader.identify(record.address), self._sizes_px(), (), None
            if reader.draw is not None:
                squares = {size: reader.draw(record.address, size) for size in sizes}
            else:
                image, changes = decode_rgb(content, record.address)
                size_px = image.size
                squares = {size: np.asarray(to_square(image, size), np.uint8) for size in sizes or {_TEST_PX}}
        except ValueError:
            if not self._config.skip_unreadable:
                raise
            return Look(digest="")
        return replace(self._taken(hashlib.sha256(content).hexdigest(), squares, changes), size_px=size_px)

    def _sizes_px(self) -> set[int]:
        thumbnail_px = self._config.image_size_px if self._with_thumbnails else 0
        return {size for size in (self._hash_size_px, thumbnail_px) if size}

    def _taken(self, digest: str, squares: dict[int, UInt8[np.ndarray, "_ _ 3"]], changes: tuple[str, ...]) -> Look:
        return Look(
            digest=digest,
            pixel_sha256=pixel_sha256(squares[self._hash_size_px]) if self._hash_size_px else "",
            thumbnail=thumbnails(squares[self._config.image_size_px][None])[0] if self._with_thumbnails else None,
            changes=changes,
        )
