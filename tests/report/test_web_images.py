"""Small WebP files: bounded, and no larger than they need be."""

import base64
import io

import numpy as np
from page_reader import pixels
from PIL import Image

from flowerti.report.web_images import smallest_webp, thumbnail


def opened(content):
    image = Image.open(io.BytesIO(content))
    assert image.format == "WEBP"
    return image


def test_a_thumbnail_is_bounded_and_a_small_image_keeps_its_size():
    large = np.full((300, 200, 3), 90, np.uint8)
    assert opened(base64.b64decode(thumbnail(large))).size == (64, 96)
    assert opened(base64.b64decode(thumbnail(large[:64, :64]))).size == (64, 64)


def test_flat_colours_lose_nothing():
    drawn = np.zeros((80, 120, 3), np.uint8)
    drawn[20:40, 30:90] = (200, 10, 10)
    stream = io.BytesIO()
    Image.fromarray(drawn).save(stream, "PNG")
    found = np.asarray(opened(smallest_webp(stream.getvalue())).convert("RGB"))
    np.testing.assert_array_equal(found, pixels(stream.getvalue()))
