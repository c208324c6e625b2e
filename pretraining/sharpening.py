"""Gives the embedded base's decoder its sharpness back: squared error alone leaves a blur that every feature sees.

The encoder is frozen, so latents stay what they are and a denoiser trained on them keeps its worth. The decoder learns
to match intermediate features of EfficientNet-Lite1 (as in Zhang et al. 2018, arXiv:1801.03924, eq. 1, without learnt
weights) beside the pixels, and then also to pass for a true image before a discriminator on the same features; in
the end with the denoiser's own drawings among the latents, which are smoother than those of images. Last, its weights
are mixed with those it began with (Wortsman et al. 2022, arXiv:2109.01903, eq. 1), which takes away the dots that a
discriminator leaves. Distances of this project are measured with other networks, EfficientNet-Lite0 by default. This
module does not know how latents are made, or about Ray.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowerti.demo.descent import AveragedWeights, Report, descend, rate_at, set_rate
from flowerti.demo.discriminator import FeatureDiscriminator, discriminator_loss, generator_loss
from flowerti.demo.lite_features import LiteFeatures
from flowerti.demo.recipe import SharpeningConfig
from flowerti.shares import WHOLE, Part

_LATENT_JITTER = 0.1
"""Deviation of the noise on training latents, as a share of their own: drawn latents are never exact."""


def feature_difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Mean over blocks of the squared distance between unit vectors, averaged over positions and images."""
    return torch.stack([(a - b).square().sum(dim=1).mean() for a, b in zip(ours, theirs, strict=True)]).mean()


def sharpen_decoder(
    config: SharpeningConfig,
    vae: Any,
    images: np.ndarray,
    moments: Float[Tensor, "n 2 c h w"],
    drawings: Float[Tensor, "m c h w"],
    seed: int,
    report: Report,
    part: Part = WHOLE,
) -> None:
    """Trains the decoder in place, and leaves its averaged weights there, mixed; the encoder is not touched.

    Args:
        config: steps, batch, rates, the discriminator's weight and the mixture.
        vae: a trained AutoencoderKL.
        images: uint8 [n, height, width, 3].
        moments: posterior moments of the images under this encoder.
        drawings: latents that the denoiser drew, before scaling.
        seed: seed of the batches and of the discriminator's weights.
        report: called every 50 steps with what, step and loss.
        part: this process's share of the batches.
    """
    torch.manual_seed(seed)
    lite, generator = LiteFeatures().eval(), torch.Generator().manual_seed(seed)
    discriminator = FeatureDiscriminator([found.shape[1] for found in lite(torch.zeros(1, 3, 64, 64))])
    weights = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    before = [weight.detach().clone() for weight in weights]
    optimizer = _optimizer(weights, config.rate)
    its_optimizer = _optimizer(list(discriminator.parameters()), config.discriminator_rate)
    averaged = AveragedWeights(weights, 0.99)
    jitter = _LATENT_JITTER * float(moments[:, 0].std())
    vae.decoder.train()
    for step in range(config.num_steps):
        set_rate(optimizer, config.rate * rate_at(step, config.num_steps, config.num_steps // 20))
        chosen = torch.randint(len(images), (config.batch,), generator=generator)
        num_true = config.batch if step < config.drawings_from else config.batch // 2
        latents = _jittered(moments[chosen], jitter, generator)
        latents[num_true:] = _some_of(drawings, config.batch - num_true, jitter / 2, generator)
        is_true = part.cut(torch.arange(config.batch) < num_true)
        wanted = torch.from_numpy(images[part.cut(chosen).numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        restored = vae.decode(part.cut(latents)).sample
        with torch.no_grad():
            theirs = lite(wanted)
        ours = lite(restored)
        loss = decoder_loss([f[is_true] for f in ours], [f[is_true] for f in theirs], (restored - wanted)[is_true])
        if step >= config.adversarial_from:
            verdicts = discriminator(theirs), discriminator([found.detach() for found in ours])
            descend(discriminator_loss(*verdicts), its_optimizer, list(discriminator.parameters()), part)
            loss = loss + _adversarial_weight(config, step) * generator_loss(discriminator(ours))
        descend(loss, optimizer, weights, part)
        averaged.update(step)
        if step % 50 == 0 or step == config.num_steps - 1:
            report({"what": "decoder", "step": step, "loss": loss.item()})
    averaged.swap()
    with torch.no_grad():
        for weight, old in zip(weights, before, strict=True):
            weight.lerp_(old, 1.0 - config.share)
    vae.eval()


def _jittered(
    moments: Float[Tensor, "batch 2 c h w"], jitter: float, generator: torch.Generator
) -> Float[Tensor, "batch c h w"]:
    """Latents of images, with somewhat more noise than their posteriors have."""
    mean, deviation = moments.unbind(1)
    return mean + (deviation.square() + jitter**2).sqrt() * torch.randn(mean.shape, generator=generator)


def _some_of(
    drawings: Float[Tensor, "m c h w"], num: int, jitter: float, generator: torch.Generator
) -> Float[Tensor, "num c h w"]:
    picked = drawings[torch.randint(len(drawings), (num,), generator=generator)]
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
