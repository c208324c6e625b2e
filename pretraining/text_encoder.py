"""Teaches the text encoder what captions mean before a denoiser listens: captions against images, contrastively.

A text encoder that learns only through the denoiser starts by saying nearly the same for every caption, and the
denoiser learns to ignore it. So it is trained first, as CLIP's was (Radford et al. 2021, arXiv:2103.00020, fig. 3), and
slowly on with the denoiser. The image side is a small network on given features, and is thrown away. This module does
not know how features or captions are made.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from flowerti.demo.descent import Report
from flowerti.demo.networks import Base, tokenize
from flowerti.demo.recipe import PretrainConfig

_INVERSE_TEMPERATURE = 10.0


def contrastive_loss(
    texts: Float[Tensor, "n dim"], images: Float[Tensor, "n dim"], is_same: Float[Tensor, "n n"]
) -> Float[Tensor, ""]:
    """Symmetric cross-entropy over the cosines of all captions and images of a batch, at temperature 0.1.

    Args:
        texts: one vector for each caption.
        images: one vector for each image, in the same order.
        is_same: 1 where two captions are the same, so that their images are no negatives of each other; else 0.
    """
    normalised = nn.functional.normalize(texts, dim=1) @ nn.functional.normalize(images, dim=1).T
    logits = _INVERSE_TEMPERATURE * normalised
    target = is_same / is_same.sum(dim=1, keepdim=True)
    rows, columns = logits.log_softmax(dim=1), logits.T.log_softmax(dim=1)
    return -0.5 * ((target * rows).sum(dim=1).mean() + (target * columns).sum(dim=1).mean())


def train_text_encoder(
    text_encoder: Any,
    token_ids: Int64[Tensor, "images captions tokens"],
    features: Float[Tensor, "images dim"],
    num_steps: int,
    batch: int,
    rate: float,
    seed: int,
    report: Report,
) -> None:
    """Trains a text encoder in place, so that a caption's pooled vector points to its image.

    Args:
        text_encoder: a CLIPTextModel.
        token_ids: padded captions of each image.
        features: what is to be seen in each image, each dimension with a standard deviation of about 1.
        num_steps: optimiser steps.
        batch: images a step, each with one of its captions.
        rate: peak learning rate; warmed up over a tenth of the steps, then a cosine down to zero.
        seed: seed of the image network's weights and of the batches.
        report: called every 50 steps with what, step and loss.
    """
    width = text_encoder.config.hidden_size
    torch.manual_seed(seed)
    images = nn.Sequential(nn.Linear(features.shape[1], 512), nn.GELU(), nn.Linear(512, width))
    generator = torch.Generator().manual_seed(seed)
    weights = [*text_encoder.parameters(), *images.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, num_steps, pct_start=0.1, div_factor=100.0)
    text_encoder.train()
    for step in range(num_steps):
        chosen = torch.randint(len(features), (batch,), generator=generator)
        variant = torch.randint(token_ids.shape[1], (batch,), generator=generator)
        ids = token_ids[chosen, variant]
        is_same = (ids[:, None] == ids[None]).all(dim=2).float()
        # the end of a caption is where its vector is taken, so padding behind it changes nothing
        longest = int((ids != ids[:, -1:]).sum(dim=1).max()) + 1
        texts = text_encoder(ids[:, :longest]).pooler_output
        loss = contrastive_loss(texts, images(features[chosen]), is_same)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == num_steps - 1:
            report({"what": "text encoder", "step": step, "loss": loss.item()})
    text_encoder.eval()


def train_text(
    config: PretrainConfig, base: Base, captions: list[list[str]], features: Float[Tensor, "n dim"], report: Report
) -> None:
    """Trains the text encoder in place against features of the images."""
    train_text_encoder(
        base.text_encoder,
        tokenize(base, captions),
        (features - features.mean(dim=0)) / (features.std(dim=0) + 1e-6),
        config.text_steps,
        config.text_batch,
        config.text_rate,
        config.seed + 4,
        report,
    )
