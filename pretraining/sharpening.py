"""Gives a base's decoder its sharpness back: squared error alone leaves a blur that every feature sees.

The encoder is frozen, so latents stay what they are and a denoiser trained on them keeps its worth. The decoder learns
to match intermediate features of EfficientNet-Lite1 (as in Zhang et al. 2018, arXiv:1801.03924, eq. 1, without learnt
weights) beside the pixels, and then also to pass for a true image before a discriminator on the same features; in
the end with latents that the denoiser generated among the others, since they are smoother than those of images. Last,
its weights are mixed with those it began with (Wortsman et al. 2022, arXiv:2109.01903, eq. 1), which takes away the
dots that a discriminator leaves. Distances of this project are measured with other networks, EfficientNet-Lite0 by
default. This module does not know how latents are made, or about Ray.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from flowerti.classifier.batch_share import WHOLE_BATCH, BatchShare
from flowerti.progress import Progress
from pretraining.autoencoder import to_unit
from pretraining.discriminator import FeatureDiscriminator, discriminator_loss, generator_loss
from pretraining.lite_features import LiteFeatures
from pretraining.optimization import AveragedWeights, descend, is_reported, rate_at, set_rate
from pretraining.recipe import SharpeningConfig

_LATENT_JITTER = 0.1
"""Std of the noise on training latents, as a share of their own: generated latents are never exact."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderData:
    """What the decoder learns from."""

    images: np.ndarray
    """uint8 [n, height, width, 3]."""
    moments: Float[Tensor, "n 2 c h w"]
    """Posterior moments of the images under the frozen encoder, before scaling."""
    generated: Float[Tensor, "m c h w"]
    """Latents that the denoiser generated, before scaling."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decoding:
    """One process's share of a batch of latents, and what the decoder should make of them."""

    latents: Float[Tensor, "n c h w"]
    wanted: Float[Tensor, "n 3 height width"]
    """The images in [-1, 1]; of no meaning where the latent was generated."""
    is_true: Bool[Tensor, " n"]
    """Whether the latent is that of an image."""


def feature_difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Mean over blocks of the squared distance between unit vectors, averaged over positions and images."""
    return torch.stack([(a - b).square().sum(dim=1).mean() for a, b in zip(ours, theirs, strict=True)]).mean()


def sharpen_decoder(
    config: SharpeningConfig, vae: Any, data: DecoderData, seed: int, progress: Progress, part: BatchShare = WHOLE_BATCH
) -> None:
    """Train the decoder in place, and leave its averaged weights there, mixed; the encoder is not touched.

    Args:
        config: steps, batch, rates, the discriminator's weight and the mixture.
        vae: a trained AutoencoderKL.
        data: images, their moments, and generated latents.
        seed: seed of the batches and of the discriminator's weights.
        progress: gets the loss every 50 steps.
        part: this process's share of the batches.
    """
    torch.manual_seed(seed)
    lite, generator = LiteFeatures().eval(), torch.Generator().manual_seed(seed)
    opponent = _Opponent(config, [found.shape[1] for found in lite(torch.zeros(1, 3, 64, 64))], part)
    weights = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    before = [weight.detach().clone() for weight in weights]
    optimizer, averaged = _optimizer(weights, config.rate), AveragedWeights(weights, 0.99)
    jitter = _LATENT_JITTER * float(data.moments[:, 0].std())
    vae.decoder.train()
    for step in range(config.num_steps):
        set_rate(optimizer, config.rate * rate_at(step, config.num_steps, config.num_steps // 20))
        batch = _draw_batch(config, data, jitter, step, generator, part)
        restored = vae.decode(batch.latents).sample
        with torch.no_grad():
            theirs = lite(batch.wanted)
        ours = lite(restored)
        true_ours, true_theirs = [f[batch.is_true] for f in ours], [f[batch.is_true] for f in theirs]
        loss = decoder_loss(true_ours, true_theirs, (restored - batch.wanted)[batch.is_true])
        if step >= config.adversarial_from:
            loss = loss + _adversarial_weight(config, step) * opponent.learn_and_judge(theirs, ours)
        descend(loss, optimizer, weights, part)
        averaged.update(step)
        if is_reported(step, config.num_steps):
            progress.metric("decoder/loss", step, loss.item())
    averaged.swap()
    _mix(weights, before, config.share)
    vae.eval()


class _Opponent:
    """The discriminator, which learns one step whenever it is asked."""

    def __init__(self, config: SharpeningConfig, widths: Sequence[int], part: BatchShare) -> None:
        self._discriminator, self._part = FeatureDiscriminator(widths), part
        self._weights = list(self._discriminator.parameters())
        self._optimizer = _optimizer(self._weights, config.discriminator_rate)

    def learn_and_judge(self, theirs: Sequence[Tensor], ours: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Learn to tell features of true images from ours; then how drawn ours look, for the decoder to lower."""
        logits = self._discriminator(theirs), self._discriminator([found.detach() for found in ours])
        descend(discriminator_loss(*logits), self._optimizer, self._weights, self._part)
        return generator_loss(self._discriminator(ours))


def _draw_batch(
    config: SharpeningConfig, data: DecoderData, jitter: float, step: int, generator: torch.Generator, part: BatchShare
) -> _Decoding:
    """Draw the batch of a step; every process draws the same one and cuts its share."""
    chosen = torch.randint(len(data.images), (config.batch,), generator=generator)
    num_true = config.batch if step < config.generated_from else config.batch // 2
    latents = _jittered(data.moments[chosen], jitter, generator)
    latents[num_true:] = _some_of(data.generated, config.batch - num_true, jitter / 2, generator)
    return _Decoding(
        latents=part.cut(latents),
        wanted=to_unit(torch.from_numpy(data.images[part.cut(chosen).numpy()])),
        is_true=part.cut(torch.arange(config.batch) < num_true),
    )


@torch.no_grad()
def _mix(weights: Sequence[nn.Parameter], before: Sequence[Tensor], share: float) -> None:
    """Put share * trained + (1 - share) * before in place of the trained weights."""
    for weight, old in zip(weights, before, strict=True):
        weight.lerp_(old, 1.0 - share)


def _jittered(
    moments: Float[Tensor, "batch 2 c h w"], jitter: float, generator: torch.Generator
) -> Float[Tensor, "batch c h w"]:
    """Latents of images, with somewhat more noise than their posteriors have."""
    mean, std = moments.unbind(1)
    return mean + (std.square() + jitter**2).sqrt() * torch.randn(mean.shape, generator=generator)


def _some_of(
    generated: Float[Tensor, "m c h w"], num: int, jitter: float, generator: torch.Generator
) -> Float[Tensor, "num c h w"]:
    picked = generated[torch.randint(len(generated), (num,), generator=generator)]
    return picked + jitter * torch.randn(picked.shape, generator=generator)


def _optimizer(weights: Sequence[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(weights, lr=rate, betas=(0.5, 0.95), weight_decay=0.0)


def _adversarial_weight(config: SharpeningConfig, step: int) -> float:
    """Nothing while the discriminator knows nothing yet (60 steps), then a ramp of 200 steps."""
    return config.adversarial_weight * min(max((step - config.adversarial_from - 60) / 200, 0.0), 1.0)


def decoder_loss(
    ours: Sequence[Tensor], theirs: Sequence[Tensor], error: Float[Tensor, "num 3 height width"]
) -> Float[Tensor, ""]:
    """Features of the restored and the true images, their difference in pixels, and in colours on 4x4 averages."""
    colours = nn.functional.avg_pool2d(error, 4).square().mean()
    return feature_difference(ours, theirs) + error.square().mean() + 4.0 * colours
