"""Which files are images, which are pictures that cannot be opened, and what belongs to a system and not to a data set.

A file is an image if it has the suffix of a format that Pillow reads, whatever it holds, or else if its content is one.
This module knows no class and no split.
"""

import functools
from pathlib import Path

from PIL import Image

_UNREADABLE_FORMATS = {"BUFR", "GRIB", "HDF5", "WMF", "MPEG", "EPS", "FITS"}
"""Formats that Pillow registers without reading their pixels, reads by another program only, or holds measurements in."""
_FORMATS_BY_CONTENT = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "PSD", "QOI")
"""Formats whose files begin with bytes that nothing else begins with."""
_RAW = ("3fr", "arw", "cr2", "cr3", "dng", "erf", "kdc", "mrw", "nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "srw", "x3f")
"""Suffixes of cameras' raw files; what Pillow finds in some of them is a small preview."""
_PICTURES = frozenset(
    f".{name}" for name in (*_RAW, "heic", "heif", "svg", "jxl", "exr", "hdr", "dcm", "eps", "fits", "ai", "pdf")
    + ("mp4", "mov", "avi", "mkv", "webm", "mpg", "mpeg", "wmf", "emf")
)  # fmt: skip
_SYSTEM_NAMES = frozenset(
    ("__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found", "#recycle")
    + ("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r")
)  # fmt: skip


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or one that systems and notebooks leave behind."""
    return name.startswith((".", "~$")) or name.lower() in _SYSTEM_NAMES


def is_picture(path: Path) -> bool:
    """Whether a file that is no image to us is a picture to its owner: a raw photograph, a drawing, a film."""
    return path.suffix.lower() in _PICTURES


def is_image(path: Path) -> bool:
    """Whether a file is an image; opens it where its suffix does not say so. A missing file is what its suffix says."""
    suffix = path.suffix.lower()
    if suffix in _image_suffixes():
        return True
    return suffix not in _PICTURES and path.is_file() and _holds_image(path)


@functools.cache
def _image_suffixes() -> frozenset[str]:
    known = Image.registered_extensions()
    readable = set(Image.OPEN) - _UNREADABLE_FORMATS
    # .avif is an image whether this build of Pillow can open it or not
    return frozenset({suffix for suffix, name in known.items() if name in readable} | {".avif"}) - _PICTURES


def _holds_image(path: Path) -> bool:
    try:
        with Image.open(path, formats=_FORMATS_BY_CONTENT):
            return True
    except Exception:  # Pillow's parsers raise whatever they stumble on
        return False
