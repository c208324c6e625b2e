"""Alignment finds motions that another library made, and judges a pair by its two images alone."""

import numpy as np
import pytest
from scipy.ndimage import affine_transform, gaussian_filter

from flowerti.data.aligned_thumbnails import aligned_thumbnails
from flowerti.scoring.alignment import (
    CANDIDATE_LIMIT,
    COPY_LIMIT,
    aligned_pairs,
    find_copies,
    originals_of,
)


def _textures(num: int, seed: int, size_px: int = 96) -> np.ndarray:
    """Smooth coloured noise, as float in [0, 255]."""
    noise = np.random.default_rng(seed).normal(size=(num, size_px, size_px, 3))
    smooth = gaussian_filter(noise, (0, 5, 5, 0), mode="reflect")
    return np.clip(128 + 45 * smooth / smooth.std(), 0, 255)


def _moved(image: np.ndarray, scale: float, degrees: float, right: float, down: float) -> np.ndarray:
    """An image turned about its centre, enlarged, and shifted by shares of its side, by scipy's splines."""
    size, angle = len(image), np.deg2rad(degrees)
    back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    centre = np.full(2, (size - 1) / 2)
    offset = centre - back @ (centre + size * np.array([down, right]))
    return np.stack([affine_transform(image[..., c], back, offset, order=3) for c in range(3)], axis=2)


def _flat(images: np.ndarray) -> np.ndarray:
    return aligned_thumbnails(np.clip(np.round(images), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def originals():
    return _textures(12, 0)


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize(
    ("scale", "degrees", "right", "down"),
    [(1, 0, 0, 0), (1, 0, 0.0625, -0.0625), (1.3, 0, 0, 0), (1, 10, 0, 0), (1, -10, 0, 0), (1.15, -4, 0.03, 0.02)],
)
def test_a_motion_is_found_whatever_library_made_it(originals, scale, degrees, right, down, is_mirrored):
    moved = np.stack([_moved(image, scale, degrees, right, down) for image in originals[:4]])
    found = find_copies(_flat(moved[:, :, ::-1] if is_mirrored else moved), originals_of(_flat(originals)))
    assert list(zip(found.image, found.original, strict=True)) == [(i, i) for i in range(4)]
    assert set(found.is_mirrored) == {is_mirrored}
    assert found.correlation.min() > 0.95


def test_different_images_and_flat_ones_are_no_copies(originals):
    flat_grey = np.stack([np.full((96, 96, 3), value) for value in (0, 128, 255)])
    everything = np.concatenate([_textures(40, 1), flat_grey])
    for images, others in ((everything, originals), (originals, everything), (flat_grey, flat_grey)):
        assert len(find_copies(_flat(images), originals_of(_flat(others))).image) == 0


def test_an_image_agrees_with_itself_and_its_negative_does_not(originals):
    flat = _flat(originals)
    np.testing.assert_allclose(aligned_pairs(flat, flat).correlation, 1, atol=1e-5)
    negative = aligned_pairs(_flat(255 - originals), flat).correlation
    assert negative.max() < CANDIDATE_LIMIT


def test_a_pair_has_one_value_whatever_it_is_compared_beside(originals):
    moved = np.stack([_moved(image, 1.1, 5, 0.02, 0.01) for image in originals])
    images, others = _flat(np.concatenate([_textures(70, 2), moved])), _flat(originals)
    found = find_copies(images, originals_of(others))
    assert list(found.image) == list(range(70, 82))
    alone = [
        aligned_pairs(images[i : i + 1], others[j : j + 1]) for i, j in zip(found.image, found.original, strict=True)
    ]
    np.testing.assert_allclose([pair.correlation[0] for pair in alone], found.correlation, atol=1e-4)
    assert [pair.is_mirrored[0] for pair in alone] == list(found.is_mirrored)
    far = aligned_pairs(images[:12], others).correlation
    assert far.max() < COPY_LIMIT


def test_nothing_compared_with_nothing_is_nothing(originals):
    flat = _flat(originals)
    assert len(find_copies(flat, originals_of(flat[:0])).image) == 0
    assert len(find_copies(flat[:0], originals_of(flat)).image) == 0
    assert len(aligned_pairs(flat[:0], flat[:0]).correlation) == 0
