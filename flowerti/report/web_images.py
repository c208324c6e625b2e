"""Images as a page holds them: small WebP files.

This module knows nothing about what they show.
"""

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

THUMBNAIL_PX = 96
"""Longest side of a thumbnail; a smaller image stays as it is."""
_THUMBNAIL_QUALITY = 70
_CHART_QUALITY = 75


def thumbnail(image: UInt8[np.ndarray, "_height _width 3"]) -> str:
    """Base64 of a WebP file with the image, no larger than 96 px."""
    small = Image.fromarray(image)
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    return base64.b64encode(_webp(small, quality=_THUMBNAIL_QUALITY)).decode()


def smallest_webp(png: bytes) -> bytes:
    """A chart or a strip of images as WebP: without loss, or at good quality where that is smaller."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return min(_webp(image, lossless=True), _webp(image, quality=_CHART_QUALITY), key=len)


def _webp(image: Image.Image, **options: bool | int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="WEBP", method=4, **options)
    return stream.getvalue()
