"""Thumbnails of images (32 x 32) that survive a shift of hue and the loss of colour, for `scoring.alignment`.

A shift of hue in HSV leaves the largest and the smallest channel of each pixel as they are, and turning an image to
grey leaves its luma: with the three of them as planes, one agrees whichever was done. The planes are taken at full
resolution and averaged afterwards, for the largest channel of a mean is not the mean of the largest. This module does
not know what is compared, or why.
"""

import numpy as np
from jaxtyping import Float, Float32, UInt8

from flowerti.data.thumbnails import cell_weights

ALIGNED_PX = 32
"""Side of a thumbnail."""
NUM_PLANES = 3

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R BT.601, by which JPEG and Pillow turn colours to grey."""


def aligned_thumbnails(images: UInt8[np.ndarray, "num height width 3"]) -> Float32[np.ndarray, "num values"]:
    """Average luma, largest and smallest channel over a grid of 32 x 32 cells.

    Returns:
        Values in [0, 1]: the three planes one after another, each row by row.
    """
    # NHWC uint8 -> [num, 3 planes, height, width] -> [num, 3, 32, 32] -> [num, 3072]
    pixels = images.astype(np.float32) / 255
    luma = pixels @ np.array(_LUMA, np.float32)
    planes = np.stack([luma, pixels.max(axis=3), pixels.min(axis=3)], axis=1)
    down, across = (cell_weights(size, ALIGNED_PX) for size in images.shape[1:3])
    cells = np.einsum("iy,ncyx,jx->ncij", down, planes, across, optimize=True)
    return np.ascontiguousarray(cells.reshape(len(images), -1), dtype=np.float32)


def check_aligned_thumbnails(name: str, flat: Float[np.ndarray, "num values"], num: int) -> None:
    """Reject an array that does not hold finite thumbnails of `num` images.

    Raises:
        ValueError: the shape is wrong or a value is NaN or infinite; begins with `name`.
    """
    if flat.shape != (num, NUM_PLANES * ALIGNED_PX**2):
        raise ValueError(
            f"{name}: thumbnails of shape {flat.shape} for {num} image(s); make them by aligned_thumbnails()"
        )
    if not np.isfinite(flat).all():
        raise ValueError(f"{name}: thumbnails hold NaN or infinity; read the images again")
