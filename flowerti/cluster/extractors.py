"""The networks that features come from, and pixels where there is none: how each is named, and how it is loaded.

This module does not know which images they look at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float32, UInt8

from flowerti.data.aligned_thumbnails import ALIGNED_PX, aligned_thumbnails
from flowerti.data.thumbnails import THUMBNAIL_PX, thumbnails
from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import extract


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneChoice:
    """Settings of a feature extractor."""

    name: str
    weights: str
    input_size_px: int


THUMBNAILS = BackboneChoice(name="thumbnails", weights="", input_size_px=THUMBNAIL_PX)
"""No network: pixels at low resolution, for near duplicates across splits."""
ALIGNED_THUMBNAILS = BackboneChoice(name="aligned_thumbnails", weights="", input_size_px=ALIGNED_PX)
"""No network either: other pixels, for the detection of copies."""
_PIXELS = {THUMBNAILS: thumbnails, ALIGNED_THUMBNAILS: aligned_thumbnails}


def whole_pixels(image_size_px: int) -> BackboneChoice:
    """No network: the images themselves, where one that is trained as a whole needs what is dear to make again."""
    return BackboneChoice(name="pixels", weights="", input_size_px=image_size_px)


def _flat(images: UInt8[np.ndarray, "num height width 3"]) -> Float32[np.ndarray, "num values"]:
    return images.reshape(len(images), -1).astype(np.float32)


def load_extractor(backbone: BackboneChoice, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """Images, a batch at a time -> their features."""
    if backbone in _PIXELS:
        return _PIXELS[backbone]
    if backbone.name == "pixels":
        return _flat
    loaded = load_backbone(backbone.name, backbone.weights, backbone.input_size_px)
    loaded.module.to(device)
    return partial(extract, loaded)
