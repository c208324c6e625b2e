"""A folder and all that is below it, as images, folders, and what is neither, by kind.

This module knows no class and no split.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowerti.data.sources.image_files import is_foreign, is_hidden, is_image


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """A folder that was read, in sorted order."""

    path: Path
    images: tuple[Path, ...]
    """Those that lie in the folder itself."""
    folders: tuple["Folder", ...]
    """Those in it, without hidden ones."""
    others: tuple[tuple[str, Path], ...]
    """What else lies in the folder itself: (kind, path), where a kind is as in `listing_notes.left_out`."""
    num_images: int
    """Images in it and below it."""

    @property
    def filled(self) -> list["Folder"]:
        """The folders in it that have images in them or below."""
        return [folder for folder in self.folders if folder.num_images]

    @property
    def all_images(self) -> list[Path]:
        """Images in it and below it, sorted."""
        return sorted(path for folder in self.walk() for path in folder.images)

    def walk(self) -> Iterator["Folder"]:
        """Itself and every folder below it."""
        yield self
        for folder in self.folders:
            yield from folder.walk()


def read_folder(path: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Folder:
    """List a folder and all below it; links are followed.

    Args:
        path: of the folder.
        above: device and inode of the folders above it.

    Raises:
        ValueError: it, or one below it, cannot be listed; names it.
    """
    try:
        status = path.stat()
        with os.scandir(path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(
            f"data.root: {path} cannot be listed ({error.strerror}): permit it, or move it out of data.root"
        ) from error
    above = above | {(status.st_dev, status.st_ino)}
    images, folders, others = [], [], []
    for entry in entries:
        below = path / entry.name
        if is_hidden(entry.name):
            others.append((f"hidden or system {'folder' if entry.is_dir() else 'file'}", below))
        elif not entry.is_dir():
            kind = _kind_of_file(below, entry)
            others.append((kind, below)) if kind else images.append(below)
        elif _identity(below) in above:
            others.append(("link: to a folder above it", below))
        else:
            folders.append(read_folder(below, above))
    return Folder(
        path=path,
        images=tuple(images),
        folders=tuple(folders),
        others=tuple(others),
        num_images=len(images) + sum(folder.num_images for folder in folders),
    )


def _kind_of_file(path: Path, entry: "os.DirEntry[str]") -> str:
    """Empty for an image; a link without a target is named when its image is read."""
    if not entry.is_file() and path.exists():
        return "pipe or device"
    if is_image(path):
        return ""
    suffix = path.suffix.lower()
    if is_foreign(path):
        return f"{suffix} file:, which cannot be opened: convert to JPEG or PNG"
    return f"{suffix} file:, no image" if suffix else "file: without a suffix, no image"


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
