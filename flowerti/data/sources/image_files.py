"""Which files are images, which are so to their owner but cannot be opened, and what systems leave in a folder.

A file is an image if it has the suffix of a format that Pillow reads, whatever it holds, or else if its content is one.
This module knows no class and no split.
"""

import functools
from pathlib import Path

from PIL import Image

_UNREADABLE_FORMATS = {"BUFR", "GRIB", "HDF5", "WMF", "MPEG", "EPS", "FITS"}
"""Formats whose pixels Pillow does not read, or by another program only, and one for measurements."""
_FORMATS_BY_CONTENT = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "PSD", "QOI")
"""Formats whose files begin with bytes that nothing else begins with."""
_RAW = "3fr arw cr2 cr3 dng erf kdc mrw nef nrw orf pef raf raw rw2 srw x3f"
"""Suffixes of cameras' raw files; what Pillow finds in some of them is a small preview."""
_OTHERS = "heic heif svg jxl exr hdr dcm eps fits ai pdf mp4 mov avi mkv webm mpg mpeg wmf emf"
_FOREIGN_SUFFIXES = frozenset(f".{name}" for name in f"{_RAW} {_OTHERS}".split())
_SYSTEM_FOLDERS = ("__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found")
_SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or one that systems and notebooks leave behind."""
    return name.startswith((".", "~$")) or name.lower() in _SYSTEM_FOLDERS + _SYSTEM_FILES


def is_foreign(path: Path) -> bool:
    """Whether a file is in a format of images or films that cannot be opened, such as a raw photograph."""
    return path.suffix.lower() in _FOREIGN_SUFFIXES


def is_image(path: Path) -> bool:
    """Whether a file is an image; opens it where its suffix does not say so. A missing file is what its suffix says."""
    suffix = path.suffix.lower()
    if suffix in _image_suffixes():
        return True
    return suffix not in _FOREIGN_SUFFIXES and path.is_file() and _holds_image(path)


@functools.cache
def _image_suffixes() -> frozenset[str]:
    known = Image.registered_extensions()
    readable = set(Image.OPEN) - _UNREADABLE_FORMATS
    # .avif is an image whether this build of Pillow can open it or not
    return frozenset({suffix for suffix, name in known.items() if name in readable} | {".avif"}) - _FOREIGN_SUFFIXES


def _holds_image(path: Path) -> bool:
    try:
        with Image.open(path, formats=_FORMATS_BY_CONTENT):
            return True
    except Exception:  # Pillow's parsers raise whatever they stumble on
        return False
