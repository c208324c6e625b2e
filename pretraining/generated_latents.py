"""Latents that the embedded base draws itself, for its decoder to learn from; it does not know how that learns."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from flowerti.demo.networks import Base, as_pipeline

_DRAWN_AT_ONCE = 60
_DRAWN_AT_GUIDANCE = (1.5, 2.0, 3.0)


@torch.no_grad()
def draw_latents(
    base: Base, captions: list[list[str]], seed: int, places: Int64[np.ndarray, " num"]
) -> Float[Tensor, "num c h w"]:
    """Latents that the base draws from captions of its training, before scaling; each from (seed, place) alone.

    The guidance scale goes by the place, too, from 1.5 to 3.
    """
    pipeline: Any = as_pipeline(base)
    drawn = torch.empty(len(places), base.unet.config["in_channels"], *[base.unet.config["sample_size"]] * 2)
    for number, guidance_scale in enumerate(_DRAWN_AT_GUIDANCE):
        of_scale = np.flatnonzero(places % len(_DRAWN_AT_GUIDANCE) == number)
        for begin in range(0, len(of_scale), _DRAWN_AT_ONCE):
            rows = of_scale[begin : begin + _DRAWN_AT_ONCE]
            rngs = [np.random.default_rng([seed, int(place)]) for place in places[rows]]
            groups = [captions[int(rng.integers(len(captions)))] for rng in rngs]
            latents = pipeline(
                [group[int(rng.integers(len(group)))] for group, rng in zip(groups, rngs, strict=True)],
                num_inference_steps=20,
                guidance_scale=guidance_scale,
                generator=[torch.Generator().manual_seed(int(rng.integers(2**40))) for rng in rngs],
                output_type="latent",
            ).images
            drawn[torch.from_numpy(rows)] = latents / base.vae.config["scaling_factor"]
    return drawn
