"""Latents -> pixels -> PNG.

This module does not know how latents were made, nor where images are stored.
"""

import io

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from flowerti.diffusion import Base, require_finite

_DECODE_BATCH_SIZE = 4


@torch.no_grad()
def decode(base: Base, latents: Float[Tensor, "num channels h w"]) -> UInt8[np.ndarray, "num height width 3"]:
    """Decode scaled latents with the base's autoencoder.

    Raises:
        NotFiniteError: latents or images are not finite, which as 8-bit values would look like an image.
    """
    require_finite(latents, "latents")
    # in float32 because Stable Diffusion's autoencoder overflows in half precision, and in small batches because each
    # image takes over 1 GiB
    parts = (latents.float() / base.vae.config.scaling_factor).split(_DECODE_BATCH_SIZE)
    decoded = torch.cat([base.vae.decode(part).sample for part in parts])
    require_finite(decoded, "images")
    # NCHW float in [-1, 1] -> NHWC uint8 in [0, 255]
    scaled = (decoded / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()


def encode_png(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Encode an image as PNG; the same bytes for the same pixels."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()
