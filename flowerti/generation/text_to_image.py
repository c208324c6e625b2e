"""Text-to-image: pure noise and text states -> images, one for each seed.

This module does not know about classes or sources, nor where images are stored.
"""

import numpy as np
import torch
from jaxtyping import UInt8

from flowerti.config.experiment import SamplingConfig
from flowerti.diffusion import Base
from flowerti.generation.denoise import Conditioning, denoise
from flowerti.generation.pixels import decode


@torch.no_grad()
def draw_images(
    base: Base, conditioning: Conditioning, seeds: list[int], config: SamplingConfig
) -> UInt8[np.ndarray, "num height width 3"]:
    """Generate one image for each seed, in one batch.

    Args:
        base: the networks.
        conditioning: text states, of one row or of one for each seed.
        seeds: seed of each image's initial noise.
        config: steps and guidance.
    """
    size = base.unet.config.sample_size
    shape = (base.unet.config.in_channels, size, size)
    # zT ~ N(0, 1) from one generator per image, on the CPU: independent of the device and of the rest of the batch
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    latents = torch.stack(noise).to(base.device, base.dtype)
    return decode(base, denoise(base, latents, conditioning, config))
