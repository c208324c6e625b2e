"""Gives the embedded base's decoder its sharpness back: squared error alone leaves a blur that every feature sees.

The encoder is frozen, so latents stay what they are and a denoiser trained on them keeps its worth. The decoder learns
to match intermediate features of EfficientNet-Lite1 (as in Zhang et al. 2018, arXiv:1801.03924, eq. 1, without learnt
weights) beside the pixels. Distances of this project are measured with other networks, EfficientNet-Lite0 by default.
This module does not know how latents are made, or about Ray.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowerti.backbones import load_lite1
from flowerti.shares import WHOLE, Part

_BLOCKS = (0, 3, 6, 10, 14)
"""Blocks whose outputs are compared: 2 to 16 pixels wide fields."""
_INPUT_PX = 96
_LATENT_JITTER = 0.1
"""Deviation of the noise on training latents, as a share of their own: drawn latents are never exact."""


class LiteFeatures(nn.Module):
    """Outputs of some blocks of EfficientNet-Lite1 with ImageNet weights, each position's vector at length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.network: Any = load_lite1(_INPUT_PX).requires_grad_(False)

    def forward(self, pictures: Float[Tensor, "num 3 height width"]) -> list[Tensor]:
        """Features of pictures in [-1, 1]."""
        net = self.network
        scaled = nn.functional.interpolate(pictures, size=(_INPUT_PX,) * 2, mode="bilinear", align_corners=False)
        # the network was trained on (level - 0.498) / 0.502
        hidden = net._swish(net._bn0(net._conv_stem((scaled * 0.5 + 0.5 - 0.498) / 0.502)))
        found = []
        for index, block in enumerate(net._blocks[: _BLOCKS[-1] + 1]):
            hidden = block(hidden)
            if index in _BLOCKS:
                found.append(nn.functional.normalize(hidden, dim=1))
        return found


def feature_difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Mean over blocks of the squared distance between unit vectors, averaged over positions and pictures."""
    return torch.stack([(a - b).square().sum(dim=1).mean() for a, b in zip(ours, theirs, strict=True)]).mean()


def sharpen_decoder(
    vae: Any,
    pictures: np.ndarray,
    moments: Float[Tensor, "n 2 c h w"],
    num_steps: int,
    batch: int,
    rate: float,
    seed: int,
    report: Callable[[dict[str, float | int | str]], None],
    part: Part = WHOLE,
) -> None:
    """Trains the decoder in place; the encoder is not touched.

    Args:
        vae: a trained AutoencoderKL.
        pictures: uint8 [n, height, width, 3].
        moments: posterior moments of the pictures under this encoder.
        num_steps: optimiser steps.
        batch: pictures a step, over all processes.
        rate: peak learning rate; falls to zero along a cosine after a short warm-up.
        seed: seed of the batches.
        report: called every 50 steps with what, step and loss.
        part: this process's share of the batches.
    """
    lite, generator = LiteFeatures().eval(), torch.Generator().manual_seed(seed)
    weights = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, num_steps, pct_start=0.05)
    jitter = _LATENT_JITTER * float(moments[:, 0].std())
    vae.decoder.train()
    for step in range(num_steps):
        chosen = part.cut(torch.randint(len(pictures), (batch,), generator=generator))
        noise = part.cut(torch.randn((batch, *moments.shape[2:]), generator=generator))
        mean, deviation = moments[chosen].unbind(1)
        wanted = torch.from_numpy(pictures[chosen.numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        restored = vae.decode(mean + (deviation.square() + jitter**2).sqrt() * noise).sample
        loss = decoder_loss(lite, restored, wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        part.average([weight.grad for weight in weights if weight.grad is not None])
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == num_steps - 1:
            report({"what": "decoder", "step": step, "loss": loss.item()})
    vae.eval()


def decoder_loss(
    lite: LiteFeatures, restored: Float[Tensor, "num 3 height width"], wanted: Float[Tensor, "num 3 height width"]
) -> Float[Tensor, ""]:
    """Features, pixels, and colours on 4x4 averages."""
    error = restored - wanted
    colours = nn.functional.avg_pool2d(error, 4).square().mean()
    with torch.no_grad():
        theirs = lite(wanted)
    return feature_difference(lite(restored), theirs) + error.square().mean() + 4.0 * colours
