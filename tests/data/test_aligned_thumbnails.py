"""Aligned thumbnails are means over cells of luma and of the largest and smallest channels, which no hue changes."""

import colorsys

import numpy as np
import pytest

from flowerti.data.aligned_thumbnails import aligned_thumbnails, check_aligned_thumbnails


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 37), (32, 32), (16, 20)])
def test_planes_are_means_over_cells(height, width):
    image = _noise(height, width)[0] / 255
    luma = 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]
    planes = np.stack([luma, image.max(axis=2), image.min(axis=2)])
    # every pixel cut into 32 x 32 equal parts: then each cell holds whole parts only
    fine = np.repeat(np.repeat(planes, 32, axis=1), 32, axis=2)
    expected = fine.reshape(3, 32, height, 32, width).mean(axis=(2, 4))
    found = aligned_thumbnails(_noise(height, width))
    np.testing.assert_allclose(found.reshape(3, 32, 32), expected, atol=1e-6)


def test_no_shift_of_hue_changes_the_largest_and_the_smallest_channel():
    image = _noise(32, 32)
    hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3) / 255])
    turned = np.array([colorsys.hsv_to_rgb((h + 0.3) % 1, s, v) for h, s, v in hsv]).reshape(image.shape)
    turned = np.round(turned * 255).astype(np.uint8)
    before, after = (aligned_thumbnails(x).reshape(3, -1) for x in (image, turned))
    np.testing.assert_allclose(after[1:], before[1:], atol=0.5 / 255 + 1e-6)
    assert np.abs(after[0] - before[0]).max() > 0.1


def test_other_arrays_are_refused():
    good = aligned_thumbnails(_noise(32, 32))
    check_aligned_thumbnails("these", good, 1)
    with pytest.raises(ValueError, match=r"^these: thumbnails of shape \(1, 3072\) for 2 image"):
        check_aligned_thumbnails("these", good, 2)
    with pytest.raises(ValueError, match=r"^these: thumbnails hold NaN"):
        check_aligned_thumbnails("these", good * np.float32("nan"), 1)
