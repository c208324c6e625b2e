"""A base's autoencoder: training, latents of images, and reconstruction quality.

This module does not know about captions, denoisers or Ray.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor

from flowerti.classifier.batch_share import WHOLE_BATCH, BatchShare
from flowerti.progress import Progress
from pretraining.muon import Muon
from pretraining.networks import build_vae
from pretraining.optimization import AveragedWeights, computing_in, descend, is_reported, rate_at, set_rate
from pretraining.pretrain_state import PretrainState, keep_state, load_state
from pretraining.recipe import PretrainConfig


def to_unit(images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
    """Convert images to the autoencoder's input: float32 in [-1, 1], channels first."""
    # NHWC uint8 -> NCHW float32 in [-1, 1]
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def autoencoder_loss(
    vae: AutoencoderKL,
    images: Float[Tensor, "n 3 h w"],
    noise: Float[Tensor, "n c latent_h latent_w"],
    kl_weight: float = 1e-6,
) -> Float[Tensor, ""]:
    """Squared error on pixels and on 4x4 averages (for colours), with a small KL term to keep latents near the origin.

    An additional edge loss (L1 of finite differences) was tried first and made the colours collapse.
    """
    posterior = vae.encode(images).latent_dist  # type: ignore[union-attr]
    # z = mean + std * noise, the reparameterised sample
    restored = vae.decode(posterior.mean + posterior.std * noise).sample  # type: ignore[union-attr]
    error = restored - images
    colours = torch.nn.functional.avg_pool2d(error, 4)
    return 4.0 * error.square().mean() + 8.0 * colours.square().mean() + kl_weight * posterior.kl().mean()


def train_autoencoder(
    config: PretrainConfig,
    images: np.ndarray,
    progress: Progress,
    part: BatchShare = WHOLE_BATCH,
    checkpoint: Path | None = None,
) -> AutoencoderKL:
    """Train the autoencoder and measure its scaling factor.

    Args:
        config: steps, batch, rate, seed and sizes.
        images: uint8 [n, height, width, 3].
        progress: gets this part's loss every 50 steps.
        part: this process's share of the batches.
        checkpoint: file that the first process writes every 250 steps, and from which an interrupted training resumes.

    Returns:
        The autoencoder in evaluation mode, with scaling_factor = 1 / (std of its latents).
    """
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed + 1)
    vae: Any = build_vae(config.sizes)
    if config.stepping.bfloat16:  # its convolutions are made for this layout
        vae.to(memory_format=torch.channels_last)
    state = _fresh_state(vae, config, generator, part)
    begin = load_state(checkpoint, state) if checkpoint else 0
    draw = _batches(config, images, generator, part)
    for step in range(begin, config.vae.steps):
        set_rate(state.optimizer, config.vae.rate * rate_at(step, config.vae.steps, 50))
        with computing_in(config.stepping.bfloat16):
            loss = autoencoder_loss(vae, *draw(), config.vae.kl_weight)
        descend(loss, state.optimizer, state.weights, part)
        state.averaged.update(step)
        if is_reported(step, config.vae.steps):
            progress.metric("autoencoder/loss", step, loss.item())
        keep_state(checkpoint, step, state, part)
    state.averaged.swap()
    vae.eval().to(memory_format=torch.contiguous_format)
    moments = encode_moments(vae, images[:: max(1, len(images) // 1000)])
    vae.register_to_config(scaling_factor=1.0 / float(moments[:, 0].std()))
    return vae


def _fresh_state(
    vae: AutoencoderKL, config: PretrainConfig, generator: torch.Generator, part: BatchShare
) -> PretrainState:
    weights, betas = list(vae.parameters()), (0.9, 0.98)
    optimizer = torch.optim.AdamW(weights, lr=config.vae.rate, betas=betas)
    if config.stepping.muon:
        optimizer = Muon([{"params": weights, "muon": True}], config.vae.rate, betas, part, config.stepping.bfloat16)
    averaged = AveragedWeights(weights, config.vae.decay)
    return PretrainState(weights=weights, averaged=averaged, optimizer=optimizer, generator=generator)


def _batches(
    config: PretrainConfig, images: np.ndarray, generator: torch.Generator, part: BatchShare
) -> Callable[[], tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n c latent_h latent_w"]]]:
    """A function that draws the next images and noise: this process's share of a batch that all of them draw."""
    source, sizes = torch.from_numpy(images), config.sizes
    shape = (config.vae.batch, sizes.latent_channels, sizes.latent_px, sizes.latent_px)

    def draw() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(source), (config.vae.batch,), generator=generator)
        noise = torch.randn(shape, generator=generator)
        return to_unit(source[part.cut(chosen)]), part.cut(noise)

    return draw


@torch.no_grad()
def encode_moments(vae: AutoencoderKL, images: np.ndarray) -> Float[Tensor, "n 2 c h w"]:
    """Posterior mean and std of each image's latent, before scaling."""
    moments = []
    for start in range(0, len(images), 64):
        batch = to_unit(torch.from_numpy(np.array(images[start : start + 64])))
        posterior = vae.encode(batch).latent_dist  # type: ignore[union-attr]
        moments.append(torch.stack([posterior.mean, posterior.std], dim=1))
    return torch.cat(moments)


def reconstruction_psnr(vae: Any, images: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of images through the autoencoder (posterior means)."""
    # -10 log10(MSE), pixels in [0, 1]
    return float(-10.0 * torch.log10(reconstruction_errors(vae, images).mean()))


@torch.no_grad()
def reconstruction_errors(vae: Any, images: np.ndarray) -> Float[Tensor, " n"]:
    """Mean squared error of each image through the autoencoder (posterior means), pixels in [0, 1]."""
    errors = []
    for start in range(0, len(images), 64):
        batch = to_unit(torch.from_numpy(np.array(images[start : start + 64])))
        latent = vae.encode(batch).latent_dist.mean  # type: ignore[union-attr]
        restored = vae.decode(latent).sample.clamp(-1.0, 1.0)  # type: ignore[union-attr]
        errors.append((restored - batch).square().mean(dim=(1, 2, 3)) / 4.0)
    return torch.cat(errors)
