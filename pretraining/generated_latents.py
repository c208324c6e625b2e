"""Latents that a base generates itself, for its decoder to learn from; it does not know how that learns."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pretraining.networks import BaseNetworks, as_pipeline

_AT_ONCE = 60
_GUIDANCE_SCALES = (1.5, 2.0, 3.0)


@torch.no_grad()
def generate_latents(
    base: BaseNetworks, captions: list[list[str]], seed: int, places: Int64[np.ndarray, " num"]
) -> Float[Tensor, "num c h w"]:
    """Latents that the base generates from captions of its training, before scaling; each from (seed, place) alone.

    The guidance scale goes by the place, too, from 1.5 to 3.
    """
    pipeline: Any = as_pipeline(base)
    generated = torch.empty(len(places), base.unet.config["in_channels"], *[base.unet.config["sample_size"]] * 2)
    for number, guidance_scale in enumerate(_GUIDANCE_SCALES):
        of_scale = np.flatnonzero(places % len(_GUIDANCE_SCALES) == number)
        for begin in range(0, len(of_scale), _AT_ONCE):
            rows = of_scale[begin : begin + _AT_ONCE]
            rngs = [np.random.default_rng([seed, int(place)]) for place in places[rows]]
            groups = [captions[int(rng.integers(len(captions)))] for rng in rngs]
            latents = pipeline(
                [group[int(rng.integers(len(group)))] for group, rng in zip(groups, rngs, strict=True)],
                num_inference_steps=20,
                guidance_scale=guidance_scale,
                generator=[torch.Generator().manual_seed(int(rng.integers(2**40))) for rng in rngs],
                output_type="latent",
            ).images
            generated[torch.from_numpy(rows)] = latents / base.vae.config["scaling_factor"]
    return generated
