"""EfficientNet-Lite1's features against the network called by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from flowerti.features.efficientnet_lite import load_lite1
from pretraining.lite_features import LiteFeatures, image_features


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (67, 32, 32, 3), dtype=np.uint8)


def by_hand(images: np.ndarray) -> torch.Tensor:
    unit = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
    large = nn.functional.interpolate(unit, size=(96, 96), mode="bilinear", align_corners=False)
    with torch.no_grad():
        # 127 and 128 of 255: the mean and scale that the network was trained with
        maps = load_lite1(96).eval().extract_features((large - 0.498) / 0.502)
    return maps.flatten(2).mean(dim=2)


def test_pooled_features_are_the_mean_of_the_last_map(images):
    unit = torch.from_numpy(images[:3]).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    with torch.no_grad():
        pooled = LiteFeatures().eval().pooled(unit)
    torch.testing.assert_close(pooled, by_hand(images[:3]), rtol=1e-4, atol=1e-4)


def test_features_of_images_do_not_depend_on_the_batch(images):
    found = image_features(images)  # more than are taken at once
    assert len(found) == len(images)
    for index in (0, 63, 64, 66):
        torch.testing.assert_close(found[index], by_hand(images[index : index + 1])[0], rtol=1e-3, atol=1e-3)


def test_vectors_of_a_position_have_length_one(images):
    unit = torch.from_numpy(images[:2]).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    with torch.no_grad():
        maps = LiteFeatures().eval()(unit)
    assert [tuple(m.shape[2:]) for m in maps] == [(48, 48), (24, 24), (12, 12), (6, 6), (6, 6)]
    for of_block in maps:
        torch.testing.assert_close(of_block.square().sum(dim=1), torch.ones_like(of_block[:, 0]))
