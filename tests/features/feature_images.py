"""Images and a small network for tests of features, and how textbooks normalise."""

import numpy as np
import torch
import torchvision
from torch import nn


def random_images(num: int, size_px: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, size_px, size_px, 3), dtype=np.uint8)


def normalised(images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The textbook form: [0, 1] by torchvision, then its Normalize."""
    transform = torchvision.transforms.Compose(
        [torchvision.transforms.ToTensor(), torchvision.transforms.Normalize(mean, std)]
    )
    return torch.stack([transform(image) for image in images])


def random_resnet18(num_classes: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet18(weights=None, num_classes=num_classes)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.running_var, 0.5, 2.0)
                nn.init.uniform_(layer.running_mean, -1.0, 1.0)
    return network.eval()
