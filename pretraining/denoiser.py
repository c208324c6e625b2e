"""A base's denoiser: its batches, its loss, and one cycle of its training, together with the text encoder.

Plain functions for one process. This module does not know about Ray, how images were encoded, or how a base is used.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from flowerti.classifier.batch_share import WHOLE_BATCH, BatchShare
from flowerti.progress import Progress
from pretraining.muon import Muon
from pretraining.networks import BaseNetworks, build_scheduler, tokenize
from pretraining.optimization import AveragedWeights, computing_in, descend, is_reported, rate_at, set_rate
from pretraining.pretrain_state import PretrainState, keep_state, load_state
from pretraining.recipe import PretrainConfig

_WARMUP_STEPS = 200
_SNR_LIMIT = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedLatents:
    """Training data of the denoiser."""

    captions: list[list[str]]
    """Captions of each image."""
    moments: Float[Tensor, "n 2 c h w"]
    """Posterior mean and std of each image's latent, as `encode_moments` gives them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cycle:
    """One cycle of the learning rate, and its checkpoint."""

    number: int = 0
    """Index of the cycle; part of the seed of its batches."""
    checkpoint: Path | None = None
    """File that the first process writes every 250 steps, and from which an interrupted cycle resumes."""
    save: Callable[[BaseNetworks], None] = lambda base: None
    """Called with the averaged weights in place a few times on the way, not at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One batch of the denoiser."""

    latents: Float[Tensor, "n c h w"]
    noise: Float[Tensor, "n c h w"]
    timesteps: Int64[Tensor, " n"]
    token_ids: Int64[Tensor, "n tokens"]

    def cut(self, part: BatchShare) -> "Batch":
        """The rows of one process."""
        return Batch(
            latents=part.cut(self.latents),
            noise=part.cut(self.noise),
            timesteps=part.cut(self.timesteps),
            token_ids=part.cut(self.token_ids),
        )


def draw_timesteps(n: int, num_steps: int, generator: torch.Generator) -> Int64[Tensor, " n"]:
    """Stratified timesteps, one in each of n parts of the schedule, denser towards pure noise.

    The caption matters most at high noise levels, so the density grows linearly with the timestep.
    """
    strata = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    # P(t < x) = (x / T)^2, so t = T sqrt(u)
    return (strata.sqrt() * num_steps).long().clamp(max=num_steps - 1)


@functools.cache
def _kept_shares() -> Float[Tensor, " num_train_timesteps"]:
    return build_scheduler().alphas_cumprod


def denoising_loss(base: BaseNetworks, batch: Batch) -> Float[Tensor, ""]:
    """Noise prediction error, weighted min(SNR, 5) / SNR (Hang et al. 2023, arXiv:2303.09556, eq. 8)."""
    kept = _kept_shares()[batch.timesteps].view(-1, 1, 1, 1)
    # x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e, SNR = a_t / (1 - a_t)
    noisy = kept.sqrt() * batch.latents + (1.0 - kept).sqrt() * batch.noise
    states = base.text_encoder(batch.token_ids).last_hidden_state
    predicted = base.unet(noisy, batch.timesteps, states).sample  # type: ignore[union-attr]
    weight = (_SNR_LIMIT * (1.0 - kept) / kept).clamp(max=1.0).flatten()
    return (weight * (predicted - batch.noise).square().mean(dim=(1, 2, 3))).mean()


def train_denoiser(
    config: PretrainConfig,
    base: BaseNetworks,
    data: CaptionedLatents,
    cycle: Cycle,
    progress: Progress,
    part: BatchShare = WHOLE_BATCH,
) -> None:
    """Train the denoiser for one cycle, and the text encoder at a lower rate; `base` ends with their averaged weights.

    Args:
        config: steps, batch, rate, empty share and seed.
        base: its autoencoder is trained already and not changed; the other two networks are trained in place.
        data: captions and latents of each image.
        cycle: which cycle, and what is kept of it.
        progress: gets the loss every 50 steps.
        part: this process's share of the batches.
    """
    peak = config.rate * 0.5**cycle.number
    generator = torch.Generator().manual_seed(config.seed + 3 + 1000 * cycle.number)
    draw = _batches(config, base, data, generator)
    state = _fresh_state(config, base, generator, part)
    begin = load_state(cycle.checkpoint, state) if cycle.checkpoint else 0
    # shares its weights with the base, which itself stays as it can be copied and saved
    computed = replace(base, unet=torch.compile(base.unet)) if config.stepping.compiled else base
    for step in range(begin, config.steps):
        set_rate(state.optimizer, peak * rate_at(step, config.steps, _WARMUP_STEPS))
        with computing_in(config.stepping.bfloat16):
            loss = denoising_loss(computed, draw().cut(part))
        descend(loss, state.optimizer, state.weights, part)
        state.averaged.update(step)
        if is_reported(step, config.steps):
            progress.metric("denoiser/loss", step, loss.item())
        _keep(config, base, cycle, state, step, part)
    state.averaged.swap()
    base.unet.eval().to(memory_format=torch.contiguous_format)


def _fresh_state(
    config: PretrainConfig, base: BaseNetworks, generator: torch.Generator, part: BatchShare
) -> PretrainState:
    of_unet, of_text = list(base.unet.parameters()), list(base.text_encoder.parameters())
    weights, betas = [*of_unet, *of_text], (0.9, 0.99)
    averaged = AveragedWeights(weights, 0.997)
    groups = [{"params": of_unet, "muon": True}, {"params": of_text, "share": config.text.share}]
    if config.stepping.muon:
        optimizer = Muon(groups, config.rate, betas, part, config.stepping.bfloat16)
    else:
        optimizer = torch.optim.AdamW(groups, lr=config.rate, betas=betas, weight_decay=0.01, fused=True)
    base.unet.train().to(memory_format=torch.channels_last)  # an eighth faster on a CPU
    return PretrainState(weights=weights, averaged=averaged, optimizer=optimizer, generator=generator)


def _keep(
    config: PretrainConfig, base: BaseNetworks, cycle: Cycle, state: PretrainState, step: int, part: BatchShare
) -> None:
    """Save the base about every sixth of the cycle, and a checkpoint every 250 steps."""
    if step % max(1, config.steps // 6) == config.steps // 6 - 1 and step < config.steps - 1:
        with state.averaged.in_place():
            cycle.save(base)
    keep_state(cycle.checkpoint, step, state, part)


def _batches(
    config: PretrainConfig, base: BaseNetworks, data: CaptionedLatents, generator: torch.Generator
) -> Callable[[], Batch]:
    """A function that draws the next batch; every process draws the same ones."""
    moments, num_steps = data.moments * base.vae.config["scaling_factor"], len(_kept_shares())
    token_ids, empty = tokenize(base, data.captions), tokenize(base, [[""]])[0, 0]

    def draw() -> Batch:
        chosen = torch.randint(len(moments), (config.batch,), generator=generator)
        mean, std = moments[chosen].unbind(1)
        latents = mean + std * torch.randn(mean.shape, generator=generator)
        variant = torch.randint(token_ids.shape[1], (config.batch,), generator=generator)
        ids = token_ids[chosen, variant]
        ids[torch.rand(config.batch, generator=generator) < config.empty_share] = empty
        timesteps = draw_timesteps(config.batch, num_steps, generator)
        noise = torch.randn(latents.shape, generator=generator)
        return Batch(latents=latents, noise=noise, timesteps=timesteps, token_ids=ids)

    return draw
