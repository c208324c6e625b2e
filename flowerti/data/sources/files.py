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


def stamp_of_file(path: str) -> str:
    """Size in bytes and times of the last change of a file; empty where there is none, which the census names."""
    try:
        found = Path(path).stat()
    except OSError:
        return ""
    # the time of the inode's change as well: a copy may keep the time of the content's
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


FILES = ImageReader(identify=_read, stamp_of=stamp_of_file)
