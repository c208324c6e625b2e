"""Features of EfficientNet-Lite1, for the training of a base's text encoder and decoder.

Distances of this project are measured with other networks, EfficientNet-Lite0 by default. It knows nothing about
training.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowerti.features.efficientnet_lite import load_lite1
from pretraining.autoencoder import to_unit

_BLOCKS = (0, 3, 6, 10, 14)
"""Blocks whose outputs are compared: 2 to 16 pixels wide fields."""
_INPUT_PX = 96


class LiteFeatures(nn.Module):
    """Outputs of some blocks of EfficientNet-Lite1 with ImageNet weights, each position's vector at length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.network: Any = load_lite1(_INPUT_PX).requires_grad_(False)

    def forward(self, images: Float[Tensor, "num 3 height width"]) -> list[Tensor]:
        """Features of images in [-1, 1]."""
        net = self.network
        hidden = net._swish(net._bn0(net._conv_stem(_as_input(images))))
        found = []
        for index, block in enumerate(net._blocks[: _BLOCKS[-1] + 1]):
            hidden = block(hidden)
            if index in _BLOCKS:
                found.append(nn.functional.normalize(hidden, dim=1))
        return found

    def pooled(self, images: Float[Tensor, "num 3 height width"]) -> Float[Tensor, "num dim"]:
        """The last feature map of images in [-1, 1], averaged over its positions."""
        return self.network.extract_features(_as_input(images)).mean(dim=(2, 3))


def _as_input(images: Float[Tensor, "num 3 height width"]) -> Float[Tensor, "num 3 size size"]:
    scaled = nn.functional.interpolate(images, size=(_INPUT_PX,) * 2, mode="bilinear", align_corners=False)
    return (scaled * 0.5 + 0.5 - 0.498) / 0.502  # as the network was trained


@torch.no_grad()
def image_features(images: np.ndarray) -> Float[Tensor, "n dim"]:
    """Features of EfficientNet-Lite1 for each image, uint8 [n, height, width, 3]: its form as well as its colours."""
    lite, features = LiteFeatures().eval(), []
    for start in range(0, len(images), 64):
        batch = to_unit(torch.from_numpy(np.array(images[start : start + 64])))
        features.append(lite.pooled(batch))
    return torch.cat(features)
