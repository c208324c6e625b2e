"""Resizing against Pillow, batches against single images, and what random views depend on."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from flowerti.features.backbones import Backbone
from flowerti.features.extraction import augment, extract, preprocess


class Flat(nn.Module):
    """Every normalised value is a feature."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images * self.scale).flatten(1)


def flat_backbone(size_px: int) -> Backbone:
    return Backbone(
        name="flat",
        module=Flat().eval(),
        dim=3 * size_px**2,
        mean=(0.1, 0.2, 0.3),
        std=(0.5, 0.6, 0.7),
        weights_sha256="",
        input_size_px=size_px,
    )


def drawn_images(num: int, size_px: int) -> np.ndarray:
    """Noise, where antialiasing matters, over black and white stripes, where bicubic overshoots."""
    images = np.random.default_rng(3).integers(0, 256, (num, size_px, size_px, 3), dtype=np.uint8)
    images[:, : size_px // 2] = np.where(np.arange(size_px) // 8 % 2, 255, 0)[:, None]
    return images


def levels_of(backbone: Backbone, images: np.ndarray) -> np.ndarray:
    """Undo the normalisation: [n, h, w, 3] in 0..255."""
    normalised = preprocess(backbone, images).numpy().transpose(0, 2, 3, 1)
    return (normalised * np.array(backbone.std) + np.array(backbone.mean)) * 255


def resized_by_pillow(image: np.ndarray, size_px: int) -> np.ndarray:
    """Each channel in Pillow's float mode, which neither rounds nor clips between its two passes."""
    channels = [
        Image.fromarray(channel).resize((size_px, size_px), Image.Resampling.BICUBIC)
        for channel in image.astype(np.float32).transpose(2, 0, 1)
    ]
    return np.stack(channels, axis=2).astype(float).clip(0, 255)


@pytest.mark.parametrize("size_px", [24, 33, 100])
def test_resize_is_pillows_antialiased_bicubic(size_px: int) -> None:
    images = drawn_images(2, 64)
    levels = levels_of(flat_backbone(size_px), images)
    pillow = np.stack([resized_by_pillow(image, size_px) for image in images])
    assert np.abs(levels - pillow).max() < 0.01
    assert (pillow == 255).any(), "nothing overshot, so clamping was not tried"
    assert np.abs(levels - np.round(levels)).mean() > 0.1, "resized levels were rounded"


def test_same_size_is_only_normalised() -> None:
    images = drawn_images(2, 16)
    expected = (images / 255 - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 0.6, 0.7])
    features = extract(flat_backbone(16), images)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features.reshape(2, 3, 16, 16), expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_mirrored_and_read_only_arrays_are_taken() -> None:
    images = drawn_images(2, 16)
    images.setflags(write=False)
    mirrored = extract(flat_backbone(16), images[:, :, ::-1]).reshape(2, 3, 16, 16)
    np.testing.assert_array_equal(mirrored, extract(flat_backbone(16), images).reshape(2, 3, 16, 16)[..., ::-1])


def test_views_depend_on_seed_and_place_only() -> None:
    images = drawn_images(3, 32)
    views = augment(images, 4, seed=2**62 + 5)
    assert views.shape == (3, 4, 32, 32, 3)
    assert views.dtype == np.uint8
    np.testing.assert_array_equal(augment(images[:2], 2, seed=2**62 + 5), views[:2, :2])
    assert (augment(images, 4, seed=6) != views).any(axis=(2, 3, 4)).all()


def test_views_differ_from_one_another_and_between_equal_images() -> None:
    image = drawn_images(1, 32)
    views = augment(np.concatenate([image, image]), 6, seed=0).reshape(12, -1)
    assert len(np.unique(views, axis=0)) == 12


def test_views_are_crops_and_flips_of_the_image() -> None:
    """An image that is dark on the left and light on the right is seen both ways round, but never upside down."""
    ramp = np.tile(np.linspace(60, 180, 32).astype(np.uint8)[None, :, None], (32, 1, 3))
    views = augment(ramp[None], 40, seed=1)[0].astype(float)
    slopes = views[:, :, 20:].mean(axis=(1, 2, 3)) - views[:, :, :12].mean(axis=(1, 2, 3))
    assert 5 < (slopes > 0).sum() < 35


def test_the_global_generator_is_left_as_it_was() -> None:
    before = torch.random.get_rng_state()
    augment(drawn_images(1, 16), 1, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_no_views_are_refused() -> None:
    with pytest.raises(ValueError, match="num_views is 0"):
        augment(drawn_images(1, 16), 0, seed=3)
