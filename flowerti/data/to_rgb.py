"""Turns an image that Pillow opened into upright RGB with 8 bits a channel, and says what that took.

Grey values of 16 bits are scaled by their range, transparent places are shown on white, the first of several frames is
taken, and an image is turned as its EXIF says. What cannot be shown faithfully is refused. This module does not know
where an image comes from.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import ExifTags, Image

SEVERAL_FRAMES = "with several frames or pages: the first one is read"
DEEP_GREY = "in grey with 16 bits: scaled to 8 bits"
TRANSPARENT = "transparent in places: shown on white"
FOR_PRINT = "for print (CMYK): converted to RGB without a colour profile"
DAMAGED_EXIF = "with damaged EXIF data: not turned"

_RANGE_OF_16_BITS = 65535
_FORMATS_OF_16_BITS = ("PNG", "PPM")
"""Formats whose grey values Pillow widens from 16 to 32 bits, in the range of 16."""
_WHITE_IS_ZERO, _PHOTOMETRIC = 0, 262
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""


def to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert the first frame to RGB, in its own size and upright.

    Args:
        image: opened, not necessarily loaded.

    Returns:
        The image, and which of the changes above it took.

    Raises:
        ValueError: its values have no known range.
        Exception: whatever Pillow raises for damaged content.
    """
    image.load()
    found, changes = _eight_bits(image)
    # not ImageOps.exif_transpose: it writes the EXIF data anew, which fails on fields that need not be read
    orientation = _orientation(image)
    if orientation is None:
        changes.append(DAMAGED_EXIF)
    elif isinstance(orientation, int) and orientation in _TURNS:
        found = found.transpose(_TURNS[orientation])
    if _is_animated(image):
        changes.append(SEVERAL_FRAMES)
    return found, tuple(changes)


def _eight_bits(image: Image.Image) -> tuple[Image.Image, list[str]]:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image), [DEEP_GREY]
    if image.has_transparency_data:
        return _on_white(image)
    return image.convert("RGB"), [FOR_PRINT] if image.mode == "CMYK" else []


def _on_white(image: Image.Image) -> tuple[Image.Image, list[str]]:
    colours = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    if colours.getchannel("A").getextrema() == (255, 255):
        return colours.convert("RGB"), []
    white = Image.new("RGBA", colours.size, "white")
    return Image.alpha_composite(white, colours).convert("RGB"), [TRANSPARENT]


def _from_deep_grey(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") and not (image.mode == "I" and image.format in _FORMATS_OF_16_BITS):
        raise ValueError("it is grey with 32 bits, whose range is unknown; save it with 8 or 16 bits")
    values = np.asarray(image).astype(np.int64)
    grey = _scaled(values)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow heeds it for 8 bits only
        grey = 255 - grey
    clear = image.info.get("transparency")
    if isinstance(clear, int):  # the one grey value that a PNG may call transparent
        grey = np.where(values == clear, 255, grey).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _scaled(values: Integer[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """From [0, 65535] to the nearest of [0, 255]."""
    return ((values * 255 + _RANGE_OF_16_BITS // 2) // _RANGE_OF_16_BITS).astype(np.uint8)


def _orientation(image: Image.Image) -> object | None:
    """The EXIF orientation, 1 where there is none; None where the EXIF data cannot be parsed."""
    return _or_else(lambda: image.getexif().get(ExifTags.Base.Orientation, 1), None)


def _is_animated(image: Image.Image) -> bool:
    # what is wrong with a second frame does not matter to the first
    return bool(_or_else(lambda: getattr(image, "is_animated", False), True))


def _or_else(ask: Callable[[], object], otherwise: object) -> object:
    try:
        return ask()
    except Exception:  # Pillow's parsers raise whatever they stumble on
        return otherwise
