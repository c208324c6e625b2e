"""Prior preservation (Ruiz et al. 2023, arXiv 2208.12242, eq. 2): latents of a general noun, and the loss with them.

The latents are drawn by the frozen base before anything is learnt. They go into the loss as they come out of the U-Net,
without the autoencoder's round trip, which would blur them. This module does not know which techniques use a prior,
what they train, or about files and Ray.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts.identity import of_learning, seed_for
from flowerti.config.prior import PriorConfig
from flowerti.diffusion import Base, require_finite
from flowerti.personalization.denoising import Draw, EncodedImages, predict, prediction_losses
from flowerti.personalization.encoding import TextStates, encode_empty_prompt, encode_text, joined, tokenise
from flowerti.prompts import TEMPLATES

_BATCH_SIZE = 8
"""Latents drawn at once; fixed, because kernels round differently at another size."""

Encode = Callable[[EncodedImages, Draw], TextStates]
"""Returns the text states of the captions that a draw chose from some data."""


@dataclass(kw_only=True, slots=True)
class Priors:
    """Draws the prior of each learning once."""

    config: PriorConfig | None
    """None where the technique has no prior."""
    _drawn: dict[tuple[int, int, int], EncodedImages] = field(default_factory=dict)

    def of(self, base: Base, run_seed: int, learning: int, image_size_px: int) -> EncodedImages | None:
        """The prior of a learning, the same for all classes; None if there is to be none.

        Nothing may be applied to the base's networks: the frozen base draws it.

        Raises:
            ValueError: the noun is too long for the text encoder, or the latents are not finite.
        """
        if self.config is None or not self.config.noun:
            return None
        where = run_seed, learning, image_size_px
        if where not in self._drawn:
            self._drawn[where] = _draw_prior(base, self.config, *where)
        return self._drawn[where]

    def added_to(self, data: EncodedImages, prior: EncodedImages | None) -> EncodedImages:
        """A class's data with the prior beside it."""
        if prior is None or self.config is None:
            return data
        return replace(data, prior=prior, prior_weight=self.config.weight)


def _draw_prior(base: Base, config: PriorConfig, run_seed: int, learning: int, image_size_px: int) -> EncodedImages:
    side = image_size_px // base.pixels_per_latent
    name = of_learning(f"prior/{config.noun}", learning)
    seeds = [seed_for(run_seed, "", name, index) for index in range(config.num_images)]
    # one caption for all, since each image must be learnt with the words that it was drawn from
    captions = tokenise(base, [TEMPLATES[0].format(config.noun)])
    with torch.no_grad():
        states, empty = encode_text(base, captions), encode_empty_prompt(base)
        batches = [seeds[begin : begin + _BATCH_SIZE] for begin in range(0, len(seeds), _BATCH_SIZE)]
        latents = torch.cat([draw_latents(base, states, empty, side, batch, config) for batch in batches])
    require_finite(latents, f"latents of the prior {config.noun!r}")
    return EncodedImages(mean=latents, std=torch.zeros_like(latents), captions=captions)


@torch.no_grad()
def draw_latents(
    base: Base, states: TextStates, empty: TextStates, side: int, seeds: list[int], config: PriorConfig
) -> Float[Tensor, "num channels h w"]:
    """Draw one latent for each seed with DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), in float32.

    Args:
        base: the frozen networks.
        states: the encoded prompt, one.
        empty: the unconditional input of classifier-free guidance, likewise.
        side: height and width of a latent.
        seeds: seed of each latent's initial noise.
        config: steps and guidance scale.
    """
    from diffusers import DPMSolverMultistepScheduler

    scheduler: Any = DPMSolverMultistepScheduler.from_config(base.scheduler_config, algorithm_type="dpmsolver++")
    scheduler.set_timesteps(config.num_inference_steps)
    shape = (base.unet.config.in_channels, side, side)
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    latents = torch.stack(noise).to(base.device, base.dtype)
    both = joined([empty, states]).at(torch.arange(2, device=base.device).repeat_interleave(len(seeds)))
    for timestep in scheduler.timesteps.to(base.device):
        predicted = predict(base, torch.cat([latents, latents]), timestep, both)
        unguided, guided = predicted.chunk(2)
        # eps = eps(z, empty) + scale * (eps(z, prompt) - eps(z, empty)) (Ho and Salimans 2022, arXiv 2207.12598, eq. 6)
        direction = unguided + config.guidance_scale * (guided - unguided)
        latents = scheduler.step(direction, timestep, latents).prev_sample
    return latents.float()


def loss_with_prior(base: Base, encode: Encode, data: EncodedImages, chosen: Draw) -> Float[Tensor, ""]:
    """L = L_class + weight * L_prior (Ruiz et al. 2023, eq. 2), from one pass over both; L_class without a prior.

    Args:
        base: the networks, with what is learnt applied to them.
        encode: encodes captions.
        data: what the draw chose from.
        chosen: the random choices of a step.
    """
    pairs = [(data, chosen)]
    if data.prior is not None:
        assert chosen.prior is not None, "the draw was made from other data"
        pairs.append((data.prior, chosen.prior))
    states = joined([encode(*pair) for pair in pairs])
    losses = prediction_losses(base, states, [one for one, _ in pairs], [one for _, one in pairs])
    return losses[0] if len(losses) == 1 else losses[0] + data.prior_weight * losses[1]


def prior_details(config: PriorConfig) -> dict[str, str | int | float]:
    """What a record says of the prior: the noun and its weight, nothing without one."""
    return {"prior": config.noun, "prior_weight": config.weight} if config.noun else {}


def frozen_captions(base: Base, data: EncodedImages) -> Encode:
    """An `Encode` for frozen text encoders: every caption is encoded once, with the base's token."""
    with torch.no_grad():
        own = encode_text(base, data.captions, base.token_rows)
        general = None if data.prior is None else encode_text(base, data.prior.captions)

    def encode(of: EncodedImages, chosen: Draw) -> TextStates:
        states = general if general is not None and of is data.prior else own
        return states.at(chosen.captions)

    return encode
