"""Reads images that are files of their own, by path; shared by every data source that lists such files.

This module knows no class and no split.
"""

import os
from pathlib import Path

from flowerti.config.data import DataConfig
from flowerti.data.images import unreadable
from flowerti.data.sources.implementation import ImageReader


def root_of(config: DataConfig) -> Path:
    """The folder of the data set; ~ stands for the user's own."""
    return Path(os.path.expanduser(config.root))


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def size_of_file(path: str) -> int:
    """Size of a file in bytes; -1 where there is none, which the census names."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return -1


FILES = ImageReader(identify=_read, size_of=size_of_file)
