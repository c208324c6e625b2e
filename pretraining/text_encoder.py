"""Pre-trains the text encoder contrastively on captions and images, before the denoiser.

A text encoder that is trained only through the denoiser starts with almost identical outputs for all captions, and the
denoiser learns to ignore it. It is therefore trained like CLIP first (Radford et al. 2021, arXiv:2103.00020, fig. 3),
and at a low rate together with the denoiser later. The image tower is a small network on given features, and is
discarded. This module does not know how features or captions are computed.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from flowerti.progress import Progress
from pretraining.networks import BaseNetworks, tokenize
from pretraining.optimization import is_reported
from pretraining.recipe import PretrainConfig

_INVERSE_TEMPERATURE = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTraining:
    """How long and how fast a text encoder is trained."""

    num_steps: int
    """Optimiser steps."""
    batch: int
    """Images a step, each with one of its captions."""
    rate: float
    """Peak learning rate; warmed up over a tenth of the steps, then a cosine down to zero."""
    seed: int
    """Seed of the image network's weights and of the batches."""


def contrastive_loss(
    texts: Float[Tensor, "n dim"], images: Float[Tensor, "n dim"], is_same: Float[Tensor, "n n"]
) -> Float[Tensor, ""]:
    """Symmetric cross-entropy over the cosines of all captions and images of a batch, at temperature 0.1.

    Args:
        texts: one vector for each caption.
        images: one vector for each image, in the same order.
        is_same: 1 where two captions are the same, so that their images are no negatives of each other; else 0.
    """
    cosines = nn.functional.normalize(texts, dim=1) @ nn.functional.normalize(images, dim=1).T
    logits = _INVERSE_TEMPERATURE * cosines
    target = is_same / is_same.sum(dim=1, keepdim=True)
    # -1/2 mean_i sum_j target_ij (log softmax_j(logits_ij) + log softmax_j(logits_ji))
    rows, columns = logits.log_softmax(dim=1), logits.T.log_softmax(dim=1)
    return -0.5 * ((target * rows).sum(dim=1).mean() + (target * columns).sum(dim=1).mean())


def train_text_encoder(
    text_encoder: Any,
    token_ids: Int64[Tensor, "images captions tokens"],
    features: Float[Tensor, "images dim"],
    training: TextTraining,
    progress: Progress,
) -> None:
    """Train a text encoder in place, so that a caption's pooled vector matches its image.

    Args:
        text_encoder: a CLIPTextModel.
        token_ids: padded captions of each image.
        features: features of each image, each dimension with a std of about 1.
        training: steps, batch, rate and seed.
        progress: gets the loss every 50 steps.
    """
    torch.manual_seed(training.seed)
    width = text_encoder.config.hidden_size
    images = nn.Sequential(nn.Linear(features.shape[1], 512), nn.GELU(), nn.Linear(512, width))
    generator = torch.Generator().manual_seed(training.seed)
    weights = [*text_encoder.parameters(), *images.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=training.rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.rate, training.num_steps, pct_start=0.1, div_factor=100.0
    )
    text_encoder.train()
    for step in range(training.num_steps):
        chosen = torch.randint(len(features), (training.batch,), generator=generator)
        ids = _captions_of(token_ids, chosen, generator)
        loss = contrastive_loss(_vectors(text_encoder, ids), images(features[chosen]), _is_same(ids))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if is_reported(step, training.num_steps):
            progress.metric("text_encoder/loss", step, loss.item())
    text_encoder.eval()


def _captions_of(
    token_ids: Int64[Tensor, "images captions tokens"], chosen: Int64[Tensor, " n"], generator: torch.Generator
) -> Int64[Tensor, "n tokens"]:
    """One caption of each chosen image."""
    return token_ids[chosen, torch.randint(token_ids.shape[1], (len(chosen),), generator=generator)]


def _is_same(ids: Int64[Tensor, "n tokens"]) -> Float[Tensor, "n n"]:
    return (ids[:, None] == ids[None]).all(dim=2).float()


def _vectors(text_encoder: Any, ids: Int64[Tensor, "n tokens"]) -> Float[Tensor, "n width"]:
    # the pooled vector is taken at the end token, so the padding after it has no effect
    longest = int((ids != ids[:, -1:]).sum(dim=1).max()) + 1
    return text_encoder(ids[:, :longest]).pooler_output


def train_text(
    config: PretrainConfig,
    base: BaseNetworks,
    captions: list[list[str]],
    features: Float[Tensor, "n dim"],
    progress: Progress,
) -> None:
    """Train the text encoder in place against features of the images."""
    training = TextTraining(
        num_steps=config.text.steps, batch=config.text.batch, rate=config.text.rate, seed=config.seed + 4
    )
    standardised = (features - features.mean(dim=0)) / (features.std(dim=0) + 1e-6)
    train_text_encoder(base.text_encoder, tokenize(base, captions), standardised, training, progress)
