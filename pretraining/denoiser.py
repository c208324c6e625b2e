"""The embedded base's denoiser: its batches, its loss, and one course of its training, the text encoder's with it.

Plain functions on one process; a course reports through a callback. It knows nothing about Ray, about how images
became latents, or what a base is used for later.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from flowerti.demo.descent import AveragedWeights, Report, descend, rate_at, set_rate
from flowerti.demo.networks import Base, build_scheduler, tokenize
from flowerti.demo.recipe import PretrainConfig
from flowerti.demo.standing import load_standing, save_standing
from flowerti.shares import WHOLE, Part

_STANDING_EVERY_STEPS = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one step of the denoiser sees."""

    latents: Float[Tensor, "n c h w"]
    noise: Float[Tensor, "n c h w"]
    timesteps: Int64[Tensor, " n"]
    token_ids: Int64[Tensor, "n tokens"]

    def cut(self, part: Part) -> "Batch":
        """The rows of one process."""
        return Batch(
            latents=part.cut(self.latents),
            noise=part.cut(self.noise),
            timesteps=part.cut(self.timesteps),
            token_ids=part.cut(self.token_ids),
        )


def draw_timesteps(n: int, num_steps: int, generator: torch.Generator) -> Int64[Tensor, " n"]:
    """Stratified timesteps, one in each of n parts of the schedule, and denser towards pure noise.

    There the words decide what is drawn. The density grows linearly with the timestep.
    """
    strata = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    return (strata.sqrt() * num_steps).long().clamp(max=num_steps - 1)


@functools.cache
def _kept_shares() -> Float[Tensor, " num_train_timesteps"]:
    return build_scheduler().alphas_cumprod


def denoising_loss(base: Base, batch: Batch) -> Float[Tensor, ""]:
    """Noise prediction error, weighted min(SNR, 5) / SNR (Hang et al. 2023, arXiv:2303.09556, eq. 8)."""
    kept = _kept_shares()[batch.timesteps].view(-1, 1, 1, 1)
    noisy = kept.sqrt() * batch.latents + (1.0 - kept).sqrt() * batch.noise
    states = base.text_encoder(batch.token_ids).last_hidden_state
    predicted = base.unet(noisy, batch.timesteps, states).sample  # type: ignore[union-attr]
    weight = (5.0 * (1.0 - kept) / kept).clamp(max=1.0).flatten()
    return (weight * (predicted - batch.noise).square().mean(dim=(1, 2, 3))).mean()


def train_denoiser(
    config: PretrainConfig,
    base: Base,
    captions: list[list[str]],
    moments: Float[Tensor, "n 2 c h w"],
    report: Report,
    save: Callable[[Base], None],
    part: Part = WHOLE,
    course: int = 0,
    standing: Path | None = None,
) -> None:
    """Trains the denoiser for one course, the text encoder slowly with it, and leaves their averaged weights in `base`.

    Args:
        config: steps, batch, rate, empty share and seed.
        base: its autoencoder is trained and stays as it is; the other two are changed in place.
        captions: captions of each image.
        moments: as `encode_moments` gives them, of each image.
        report: called every 50 steps with what, step and loss.
        save: called with the averaged weights in place a few times on the way (not at the end).
        part: this process's share of the batches.
        course: which one; each has batches of its own.
        standing: file that the first process writes every 250 steps, and from which a stopped course goes on.
    """
    generator = torch.Generator().manual_seed(config.seed + 3 + 1000 * course)
    draw = _batches(config, base, captions, moments * base.vae.config["scaling_factor"], generator)
    peak = config.rate * 0.5**course
    of_unet, of_text = list(base.unet.parameters()), list(base.text_encoder.parameters())
    weights = [*of_unet, *of_text]
    averaged = AveragedWeights(weights, 0.997)
    groups = [{"params": of_unet}, {"params": of_text, "share": config.text_share}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    base.unet.train().to(memory_format=torch.channels_last)  # an eighth faster on a CPU
    begin = load_standing(standing, weights, averaged, optimizer, generator) if standing else 0
    for step in range(begin, config.steps):
        set_rate(optimizer, peak * rate_at(step, config.steps, 200))
        loss = denoising_loss(base, draw().cut(part))
        descend(loss, optimizer, weights, part)
        averaged.update(step)
        if step % 50 == 0 or step == config.steps - 1:
            report({"what": "denoiser", "step": step, "loss": loss.item()})
        if step % max(1, config.steps // 6) == config.steps // 6 - 1 and step < config.steps - 1:
            with averaged.in_place():
                save(base)
        if standing and part.rank == 0 and step % _STANDING_EVERY_STEPS == _STANDING_EVERY_STEPS - 1:
            save_standing(standing, step + 1, weights, averaged, optimizer, generator)
    averaged.swap()
    base.unet.eval().to(memory_format=torch.contiguous_format)


def _batches(
    config: PretrainConfig,
    base: Base,
    captions: list[list[str]],
    moments: Float[Tensor, "n 2 c h w"],
    generator: torch.Generator,
) -> Callable[[], Batch]:
    """A function that draws the next batch; every process draws the same ones."""
    num_steps = len(_kept_shares())
    token_ids, empty = tokenize(base, captions), tokenize(base, [[""]])[0, 0]

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
