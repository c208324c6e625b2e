"""Decodes images: EXIF orientation, conversion to RGB, center crop and resize.

This module works on pixels: it does not know about addresses, classes or splits.
"""

import io
import struct

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps


def unreadable(name: str, error: Exception) -> ValueError:
    """The error for an image that cannot be read."""
    return ValueError(f"image {name} cannot be read ({error}): remove it, or set data.skip_unreadable to leave it out")


def decode_image(content: bytes, size_px: int, name: str) -> UInt8[np.ndarray, "{size_px} {size_px} 3"]:
    """Decode an encoded image to a square RGB array, rotated by its EXIF orientation, center-cropped and resized.

    Args:
        content: a file's bytes.
        size_px: side of the square, in pixels.
        name: what the error calls the image.

    Raises:
        ValueError: the bytes are not an image; names it.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            ImageOps.exif_transpose(image, in_place=True)
            rgb = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise unreadable(name, error) from error
    return np.asarray(to_square(rgb, size_px), dtype=np.uint8)


def to_square(image: Image.Image, size_px: int) -> Image.Image:
    """Center-crop to a square and resize to `size_px`, bicubic and antialiased (as clean-fid recommends)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square if side == size_px else square.resize((size_px, size_px), Image.Resampling.BICUBIC)
