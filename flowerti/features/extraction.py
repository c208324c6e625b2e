"""Images -> float32 features of a backbone, and random views of images for the augmented arm.

A backbone runs on the device of its module. This module does not know about classes, heads, distances, or how images
are split into batches: bit-identical features on every machine require the same batches.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor, nn

from flowerti.artifacts.identity import seed_for
from flowerti.features.backbones import Backbone


def preprocess(backbone: Backbone, images: UInt8[np.ndarray, "num height width 3"]) -> Float32[Tensor, "num 3 s s"]:
    """Resize images to the backbone's input size, bicubic and antialiased, and normalise them.

    Values are not quantised to 8 bits after resizing (Parmar et al. 2022 show its effect on the FID).

    Returns:
        Normalised images on the backbone's device.
    """
    # num h w 3 uint8 -> num 3 h w float32 in 0..255; a copy, as torch refuses the read-only arrays of Ray and Pillow
    levels = torch.from_numpy(np.array(images)).to(backbone.device).permute(0, 3, 1, 2).float()
    size = (backbone.input_size_px,) * 2
    if tuple(levels.shape[2:]) != size:
        # num 3 h w -> num 3 s s; bicubic weights are negative in places and overshoot, hence the clamp
        levels = nn.functional.interpolate(levels, size=size, mode="bicubic", antialias=True).clamp(0, 255)
    # x / 255 in [0, 1], then (x / 255 - mean) / std for each channel
    mean, std = (levels.new_tensor(values)[:, None, None] for values in (backbone.mean, backbone.std))
    return (levels / 255 - mean) / std


def extract(backbone: Backbone, images: UInt8[np.ndarray, "num height width 3"]) -> Float32[np.ndarray, "num dim"]:
    """Compute the features of images as one batch; the caller splits larger sets."""
    with torch.inference_mode():
        # num h w 3 uint8 -> num 3 s s -> num dim float32
        return backbone.module(preprocess(backbone, images)).float().cpu().numpy()


def augment(
    images: UInt8[np.ndarray, "num height width 3"],
    num_views: int,
    seed: int,
    places: Int64[np.ndarray, " num"] | None = None,
) -> UInt8[np.ndarray, "num views height width 3"]:
    """Draw random views: a crop of at least half the area, a flip, and RandAugment (Cubuk et al. 2020).

    View j of image i depends on the seed, i, j and the image alone. No view is the plain image.

    Args:
        images: values 0..255.
        num_views: views of each image.
        seed: seed of all views.
        places: number i of each image; by default their order. For images that are part of a larger batch.

    Raises:
        ValueError: num_views is below 1.
    """
    if num_views < 1:
        raise ValueError(f"num_views is {num_views}: at least one view of an image is needed")
    transform = _random_view(*images.shape[1:3])
    places = np.arange(len(images)) if places is None else places
    views = np.empty((len(images), num_views, *images.shape[1:]), dtype=np.uint8)
    # torchvision's transforms accept no generator: seed the global one, and restore its state afterwards
    with torch.random.fork_rng(devices=[]):
        for i, j in np.ndindex(len(images), num_views):
            torch.default_generator.manual_seed(seed_for(seed, str(places[i]), "augment", j))
            image = torch.from_numpy(np.array(images[i])).permute(2, 0, 1)  # h w 3 -> 3 h w
            views[i, j] = transform(image).permute(1, 2, 0).numpy()  # 3 h w -> h w 3
    return views


def _random_view(height: int, width: int) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop((height, width), scale=(0.5, 1.0), antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip(), v2.RandAugment()])
