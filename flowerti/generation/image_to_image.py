"""Image-to-image: an image of the data set, noised part of the way and denoised under a prompt, or not noised at all.

Meng et al. 2022 (arXiv 2108.01073, SDEdit): the strength in (0, 1] says how much of the noise ladder an image goes
back; 1 leaves nearly nothing of it. Without noise an image comes back from the autoencoder alone, a round trip that
shows what the autoencoder loses. This module does not know which images these are, nor about classes and files.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flowerti.config.experiment import SamplingConfig
from flowerti.diffusion import Base
from flowerti.generation.denoise import Conditioning, denoise, scheduler_at
from flowerti.generation.pixels import decode
from flowerti.personalization.encoding import TextStates, encode_images

Images = UInt8[np.ndarray, "num height width 3"]


@torch.no_grad()
def draw_from_images(
    base: Base, starts: Images, conditioning: Conditioning, noising: Sequence[tuple[float, int]], config: SamplingConfig
) -> Images:
    """Draw one image from each start; images of one strength share a batch.

    Args:
        base: the networks.
        starts: uint8 images of the size that the base draws.
        conditioning: text states, of one row or of one for each image.
        noising: of each image its strength in (0, 1], and the seed of its posterior sample and noise.
        config: steps and guidance.

    Raises:
        ValueError: a strength leaves no step.
    """
    mean, std = _posterior(base, starts)
    latents = torch.empty_like(mean, dtype=base.dtype)
    for strength in dict.fromkeys(strength for strength, _ in noising):
        places = [i for i, (of_image, _) in enumerate(noising) if of_image == strength]
        first_step = config.num_inference_steps - num_steps_of(strength, config.num_inference_steps)
        generators = [torch.Generator().manual_seed(noising[i][1]) for i in places]
        z0 = _sampled(mean[places], std[places], generators)
        scheduler = scheduler_at(base, config.num_inference_steps, first_step)
        timesteps = scheduler.timesteps[first_step].repeat(len(places))
        noise = _normal(generators, mean).to(base.dtype)
        noisy = scheduler.add_noise(z0.to(base.dtype), noise, timesteps)
        latents[places] = denoise(base, noisy, _of(conditioning, places), config, first_step)
    return decode(base, latents)


@torch.no_grad()
def round_trips(base: Base, images: Images) -> Images:
    """Images through the autoencoder alone: the mean of the posterior, decoded; nothing in it is random."""
    return decode(base, _posterior(base, images)[0])


def num_steps_of(strength: float, num_inference_steps: int) -> int:
    """Denoising steps at a strength, rounded down as diffusers does.

    Raises:
        ValueError: there are none.
    """
    num = min(int(num_inference_steps * strength), num_inference_steps)
    if num < 1:
        raise ValueError(f"strength {strength:g} of {num_inference_steps} steps leaves none: raise one of them")
    return num


def _posterior(base: Base, images: Images) -> tuple[Tensor, Tensor]:
    """Mean and std of each image's scaled latents; an image that occurs several times is encoded once."""
    _, firsts, places = np.unique(images.reshape(len(images), -1), axis=0, return_index=True, return_inverse=True)
    # one by one: rounding then does not depend on what else is in the batch
    mean, std = encode_images(base, torch.from_numpy(images[firsts]), batch_size=1)
    order = torch.from_numpy(places.reshape(-1)).to(mean.device)
    return mean[order], std[order]


def _sampled(
    mean: Float[Tensor, "num channels h w"], std: Float[Tensor, "num channels h w"], generators: list[torch.Generator]
) -> Float[Tensor, "num channels h w"]:
    """z0 = mean + std * e, e ~ N(0, 1) (Kingma and Welling 2014, arXiv 1312.6114, section 2.4)."""
    # an autoencoder without a spread takes no random numbers, so that the noise is the first of them, as in diffusers
    return mean + std * _normal(generators, mean) if std.any() else mean


def _normal(generators: list[torch.Generator], like: Tensor) -> Float[Tensor, "num channels h w"]:
    """The next standard normal numbers of each image, drawn on the CPU so that no device changes them."""
    return torch.stack([torch.randn(like.shape[1:], generator=generator) for generator in generators]).to(like)


def _of(conditioning: Conditioning, places: list[int]) -> Conditioning:
    """The rows of some images."""
    return Conditioning(
        states=_rows_at(conditioning.states, places), empty_states=_rows_at(conditioning.empty_states, places)
    )


def _rows_at(states: TextStates, places: list[int]) -> TextStates:
    if len(states.hidden) == 1:
        return states
    return TextStates(hidden=states.hidden[places], pooled=None if states.pooled is None else states.pooled[places])
