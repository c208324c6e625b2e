"""The denoising loop: noisy latents -> latents of images, with DPM-Solver++ and classifier-free guidance.

The loop is this project's own, so that guidance can be left out of steps that do not need it; the noise scheduler is
diffusers'. This module does not know where latents and text states come from, nor about classes, pixels and files.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.config.experiment import SamplingConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import predict
from flowerti.personalization.encoding import TextStates


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditioning:
    """What guides a batch: one row of text states for each of its images, or one row for all."""

    states: TextStates
    """Of the prompts."""
    empty_states: TextStates
    """What guidance leads away from: the empty prompt or a negative one."""


def scheduler_at(base: Base, num_steps: int, first_step: int = 0) -> Any:
    """A noise scheduler for DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095) that stands at a step of its ladder.

    Args:
        base: whose noise schedule and prediction type it has.
        num_steps: steps of the whole ladder, from pure noise to an image.
        first_step: the step that comes next, in [0, num_steps).
    """
    from diffusers import DPMSolverMultistepScheduler

    scheduler: Any = DPMSolverMultistepScheduler.from_config(base.scheduler_config, algorithm_type="dpmsolver++")
    scheduler.set_timesteps(num_steps, device=base.device)
    scheduler.set_begin_index(first_step)
    return scheduler


def is_guided(step: int, config: SamplingConfig) -> bool:
    """Whether a step is guided: it lies within the interval, and guidance is on at all.

    Source: Kynkäänniemi et al. 2024 (arXiv 2404.07724): guidance helps in the middle of the ladder only. Their interval
    is one of noise levels, this one of shares of the steps, step k of n being at k / n.
    """
    low, high = config.guidance_interval
    return config.guidance_scale > 1 and low <= step / config.num_inference_steps < high


@torch.no_grad()
def denoise(
    base: Base,
    latents: Float[Tensor, "num channels h w"],
    conditioning: Conditioning,
    config: SamplingConfig,
    first_step: int = 0,
) -> Float[Tensor, "num channels h w"]:
    """Take latents from the noise of a step to images' latents, all in one batch.

    A guided step is one call of the U-Net on both halves of [empty, prompt], any other one on the prompts alone, which
    costs half as much.

    Args:
        base: the networks.
        latents: scaled latents with the noise of `first_step`, in the U-Net's precision.
        conditioning: text states; of one row, or of as many as there are latents.
        config: steps, guidance scale and guidance interval.
        first_step: where on the ladder the latents are; 0 for pure noise.
    """
    scheduler = scheduler_at(base, config.num_inference_steps, first_step)
    prompts = _rows(conditioning.states, len(latents))
    both = _joined(_rows(conditioning.empty_states, len(latents)), prompts)
    for step, timestep in enumerate(scheduler.timesteps[first_step:], start=first_step):
        if is_guided(step, config):
            empty, prompted = predict(base, torch.cat([latents, latents]), timestep, both).chunk(2)
            # eps(z, empty) + guidance_scale * (eps(z, prompt) - eps(z, empty)) (Ho and Salimans 2022,
            # arXiv 2207.12598, eq. 6, with guidance_scale = 1 + w)
            predicted = empty + config.guidance_scale * (prompted - empty)
        else:
            predicted = predict(base, latents, timestep, prompts)
        latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
    return latents


def _rows(states: TextStates, num: int) -> TextStates:
    """As many rows as there are latents, side by side in memory, as a kernel's rounding may depend on that."""
    pooled = None if states.pooled is None else states.pooled.expand(num, -1).contiguous()
    return TextStates(hidden=states.hidden.expand(num, -1, -1).contiguous(), pooled=pooled)


def _joined(first: TextStates, second: TextStates) -> TextStates:
    pooled = None
    if first.pooled is not None and second.pooled is not None:
        pooled = torch.cat([first.pooled, second.pooled])
    return TextStates(hidden=torch.cat([first.hidden, second.hidden]), pooled=pooled)
