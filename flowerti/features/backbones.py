"""Loads frozen feature extractors: networks without their classification layer.

A backbone is EfficientNet-Lite0, the Inception of the FID, CLIP, DINOv2 or a torchvision classification model; each
family has a module of its own. `verify_weights` validates the user's choice without loading a network. This module
does not know how features are used; `extraction` runs images through a backbone.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from flowerti.features import efficientnet_lite, inception, torchvision_backbones, transformer_backbones
from flowerti.features.packages import require_packages
from flowerti.features.state_dicts import FIELDS, sha256_of

Levels = tuple[float, float, float]
"""One number for each of red, green and blue, on the scale of images in [0, 1]."""


@dataclass(frozen=True)
class Backbone:
    """A frozen feature extractor in eval mode.

    `module` takes images [n, 3, size, size], scaled to [0, 1] and normalised by `mean` and `std`, and returns
    float32 features [n, dim].
    """

    name: str
    module: nn.Module
    dim: int
    mean: Levels
    std: Levels
    weights_sha256: str
    """Hash of the weights file."""
    input_size_px: int

    @property
    def device(self) -> torch.device:
        """Device of the module."""
        return next(self.module.parameters()).device


def verify_weights(name: str, weights: str) -> None:
    """Check that a backbone can be loaded, without loading it; only CLIP and DINOv2 by name are fetched here.

    Raises:
        ValueError: the name is unknown, a package is not installed, or the weights file is missing.
    """
    if name in transformer_backbones.NAMES:
        transformer_backbones.folder_of(name, weights)
        return
    if name == "efficientnet_lite0":
        # the second package contains only the weights, and is not needed with a weights file
        packages = efficientnet_lite.LITE0_PACKAGES
        require_packages(name, packages[:1] if weights else packages)
    elif name == "inception":
        require_packages(name, inception.PACKAGES)
        if not weights:
            raise ValueError(
                f"weights of 'inception' are not given: download {inception.WEIGHTS}, "
                "and name the file in scoring.weights"
            )
    else:
        torchvision_backbones.require_model(name)
    if weights and not Path(weights).is_file():
        raise ValueError(
            f"weights file {weights} of {name!r} is missing: correct classifier.weights or scoring.weights"
        )


def load_backbone(name: str, weights: str, input_size_px: int) -> Backbone:
    """Load a feature extractor for images of input_size_px x input_size_px.

    Args:
        name: "efficientnet_lite0" (1280 features), "inception" (2048 features of the FID), "clip", "dinov2", or a
            torchvision classification model.
        weights: a state dict (.safetensors, or a file that torch.load reads with weights_only), for clip and dinov2 a
            folder; empty for the package's own weights, or the model's usual ones, which are downloaded where they are
            not cached.
        input_size_px: side of the square that the network sees.

    Raises:
        ValueError: as `verify_weights`; or the weights do not fit, cannot be downloaded, or the network cannot take
            images of this size.
    """
    verify_weights(name, weights)
    path = _weights_file(name, weights)
    module = _load_module(name, path, input_size_px).eval().requires_grad_(False)
    mean, std = _normalisation_of(name)
    return Backbone(
        name=name,
        module=module,
        dim=_output_dim(name, module, input_size_px),
        mean=mean,
        std=std,
        weights_sha256=sha256_of(path),
        input_size_px=input_size_px,
    )


def _weights_file(name: str, weights: str) -> Path:
    if name in transformer_backbones.NAMES:
        return transformer_backbones.weights_file(transformer_backbones.folder_of(name, weights))
    if weights:
        return Path(weights)
    return efficientnet_lite.lite0_file() if name == "efficientnet_lite0" else torchvision_backbones.usual_weights(name)


def _load_module(name: str, path: Path, input_size_px: int) -> nn.Module:
    if name == "efficientnet_lite0":
        return efficientnet_lite.load_lite0(path, input_size_px)
    if name == "inception":
        return inception.load_inception(path)
    if name in transformer_backbones.NAMES:
        return transformer_backbones.load_network(name, path.parent)
    return torchvision_backbones.load_model(name, path)


def _normalisation_of(name: str) -> tuple[Levels, Levels]:
    """Mean and standard deviation with which the network was trained."""
    known = {
        "efficientnet_lite0": (efficientnet_lite.LITE0_MEAN, efficientnet_lite.LITE0_STD),
        "inception": (inception.MEAN, inception.STD),
        "clip": (transformer_backbones.CLIP_MEAN, transformer_backbones.CLIP_STD),
    }
    return known.get(name, (torchvision_backbones.IMAGENET_MEAN, torchvision_backbones.IMAGENET_STD))


def _output_dim(name: str, module: nn.Module, input_size_px: int) -> int:
    """Run one blank image, because some networks raise for an unsupported input size only in the forward pass."""
    try:
        with torch.inference_mode():
            features = module(torch.zeros(1, 3, input_size_px, input_size_px))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(f"input_size_px {input_size_px} does not suit {name!r}: change it ({error})") from error
    if features.ndim != 2:
        raise ValueError(f"{name!r} ({FIELDS}) does not give one vector an image: choose another model")
    return features.shape[1]
