"""Decodes images to upright RGB squares, center-cropped and resized, and hashes the decoded pixels.

This module works on pixels: it does not know about addresses, classes or splits.
"""

import hashlib
import io
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from flowerti.data.to_rgb import to_rgb


def unreadable(name: str, error: Exception | str) -> ValueError:
    """The error for an image that cannot be read, in one line whatever its name and the cause are."""
    shown, reason = name if name.isprintable() else repr(name), " ".join(str(error).split())
    return ValueError(
        f"image {shown} cannot be read ({reason}): remove it, or set data.skip_unreadable to leave it out"
    )


class Decoded(NamedTuple):
    """An image in its own size, as RGB and upright."""

    image: Image.Image
    changes: tuple[str, ...]
    """What it took to show it, as `to_rgb` names it."""


def decode_image(content: bytes, size_px: int, name: str) -> UInt8[np.ndarray, "{size_px} {size_px} 3"]:
    """Decode an encoded image to a square RGB array, rotated by its EXIF orientation, center-cropped and resized.

    Args:
        content: a file's bytes.
        size_px: side of the square, in pixels.
        name: what the error calls the image.

    Raises:
        ValueError: the bytes are not an image; names it.
    """
    return np.asarray(to_square(decode_rgb(content, name).image, size_px), dtype=np.uint8)


def decode_rgb(content: bytes, name: str) -> Decoded:
    """Decode an encoded image to RGB in its own size, rotated by its EXIF orientation.

    Raises:
        ValueError: the bytes are not an image, or one whose colours are not known; names it.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return Decoded(*to_rgb(image))
    except UnidentifiedImageError as error:
        raise unreadable(name, "its content is no image that Pillow knows") from error
    except Exception as error:  # Pillow's parsers raise whatever they stumble on
        raise unreadable(name, error) from error


def to_square(image: Image.Image, size_px: int) -> Image.Image:
    """Center-crop to a square and resize to `size_px`, bicubic and antialiased (as clean-fid recommends)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square if side == size_px else square.resize((size_px, size_px), Image.Resampling.BICUBIC)


def pixel_sha256(image: UInt8[np.ndarray, "height width 3"]) -> str:
    """SHA-256 of what an image shows: of its 8-bit RGB values, row by row, without size, name or container.

    A base's training images and a run's images are both hashed by this function, as squares of the side at which the
    base was trained, made as `decode_image` makes them (or drawn at that side), before any augmentation. So a file, its
    copy under another name and the same pixels in another lossless container have one hash. A photograph that was
    compressed, cropped or resized again has another one: it is not recognised.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
