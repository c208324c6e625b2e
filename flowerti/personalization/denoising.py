"""The denoising loss of Textual Inversion (Gal et al. 2022, arXiv 2208.01618, eq. 2) and what a step draws for it.

Posterior moments of the images are computed once, plain and mirrored, and sampled anew at every step, which is the
distribution that encoding each time would give. All randomness of a batch comes from one seed. Several concepts can
share a batch: the networks are frozen, so each concept's loss and gradient are those of a batch of its own. This module
does not know about optimisers, files, or Ray.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base
from flowerti.personalization.encoding import TextStates, encode_images, encode_text, tokenise
from flowerti.prompts import TEMPLATES


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSet:
    """What a step draws from: posterior moments of all views of the images, and tokenised captions."""

    mean: Float[Tensor, "views channels h w"]
    deviation: Float[Tensor, "views channels h w"]
    captions: Int64[Tensor, "captions length"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """The random choices of one batch."""

    views: Int64[Tensor, "batch"]
    captions: Int64[Tensor, "batch"]
    timesteps: Int64[Tensor, "batch"]
    posterior_noise: Float[Tensor, "batch channels h w"]
    noise: Float[Tensor, "batch channels h w"]


def prepare(base: Base, images: UInt8[Tensor, "num height width 3"], token: str, num_vectors: int) -> TrainingSet:
    """Encode the images and their mirror images once, and tokenise every template once.

    One image is enough, as in Gal et al.'s ablations; the token may then copy it.

    Raises:
        ValueError: there is no image, or the token exists already.
    """
    if len(images) == 0:
        raise ValueError(f"token {token!r}: there is no training image to learn it from")
    mean, deviation = encode_images(base, torch.cat([images, images.flip(2)]))
    captions = tokenise(base, [template.format(token) for template in TEMPLATES], token, num_vectors)
    return TrainingSet(mean=mean, deviation=deviation, captions=captions)


def draw(data: TrainingSet, batch_size: int, num_timesteps: int, seed: int) -> Draw:
    """Choose views, captions, noise and timesteps; timesteps are stratified: one uniform draw in each equal part."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch_size, *data.mean.shape[1:])
    strata = torch.randperm(batch_size, generator=generator) + torch.rand(batch_size, generator=generator)
    views = torch.randint(len(data.mean), (batch_size,), generator=generator)
    captions = torch.randint(len(data.captions), (batch_size,), generator=generator)
    device = data.mean.device
    return Draw(
        views=views.to(device),
        captions=captions.to(device),
        timesteps=(strata * (num_timesteps / batch_size)).long().clamp(max=num_timesteps - 1).to(device),
        posterior_noise=torch.randn(shape, generator=generator).to(data.mean),
        noise=torch.randn(shape, generator=generator).to(data.mean),
    )


def denoising_losses(
    base: Base, rows: list[Tensor], data: list[TrainingSet], chosen: list[Draw]
) -> list[Float[Tensor, ""]]:
    """Mean squared error of the base's prediction for each concept, from one batch over all of them.

    Args:
        base: the frozen networks.
        rows: learnt rows of each concept, [vectors, width], as many vectors each.
        data: what each concept's draw chose from.
        chosen: the random choices of each concept.

    Raises:
        ValueError: the base predicts something else than noise, velocity or the latents themselves.
    """
    ids = torch.cat(
        [
            _with_rows_from(d.captions[c.captions], base.vocabulary_size, i * len(rows[0]))
            for i, (d, c) in enumerate(zip(data, chosen, strict=True))
        ]
    )
    return prediction_losses(base, encode_text(base, ids, torch.cat(rows)), data, chosen)


def prediction_losses(
    base: Base, states: TextStates, data: list[TrainingSet], chosen: list[Draw]
) -> list[Float[Tensor, ""]]:
    """Mean squared error of the base's prediction for each concept, given the text states of the whole batch.

    Raises:
        ValueError: the base predicts something else than noise, velocity or the latents themselves.
    """
    pairs = list(zip(data, chosen, strict=True))
    latents = torch.cat([d.mean[c.views] + d.deviation[c.views] * c.posterior_noise for d, c in pairs])
    noise = torch.cat([c.noise for c in chosen])
    timesteps = torch.cat([c.timesteps for c in chosen])
    noisy = base.noise_scheduler.add_noise(latents, noise, timesteps)
    target = _target(base, latents, noise, timesteps)
    predicted = _predict(base, noisy, timesteps, states).to(target.dtype)
    sizes = [len(c.views) for c in chosen]
    parts = zip(predicted.split(sizes), target.split(sizes), strict=True)
    return [torch.nn.functional.mse_loss(ours, wanted) for ours, wanted in parts]


def denoising_loss(
    base: Base, rows: Float[Tensor, "vectors width"], data: TrainingSet, chosen: Draw
) -> Float[Tensor, ""]:
    """The loss of one concept alone."""
    return denoising_losses(base, [rows], [data], [chosen])[0]


def _with_rows_from(ids: Int64[Tensor, "batch length"], first: int, offset: int) -> Int64[Tensor, "batch length"]:
    return torch.where(ids >= first, ids + offset, ids)


def _target(base: Base, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    prediction_type = base.noise_scheduler.config.prediction_type
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":
        return base.noise_scheduler.get_velocity(latents, noise, timesteps)
    if prediction_type == "sample":
        return latents
    raise ValueError(f"base: prediction type {prediction_type!r} is not supported")


def _predict(base: Base, noisy: Tensor, timesteps: Tensor, states: TextStates) -> Tensor:
    extra = {}
    if states.pooled is not None:
        height, width = (side * base.pixels_per_latent for side in noisy.shape[2:])
        # original size, corner of the crop, target size: the images are what they seem
        time_ids = torch.tensor([height, width, 0, 0, height, width], device=noisy.device, dtype=base.dtype)
        extra["added_cond_kwargs"] = {
            "text_embeds": states.pooled.to(base.dtype),
            "time_ids": time_ids.expand(len(noisy), -1),
        }
    return base.unet(noisy.to(base.dtype), timesteps, states.hidden.to(base.dtype), **extra).sample


Losses = Callable[[Base, list[Tensor], list[TrainingSet], list[Draw]], list[Tensor]]
"""As `denoising_losses`, for whatever one tensor a concept is learnt as."""


@torch.no_grad()
def evaluate(
    base: Base,
    rows: Float[Tensor, "vectors width"],
    data: TrainingSet,
    config: TextualInversionConfig,
    seed: int,
    losses: Losses | None = None,
) -> float:
    """The loss on fixed views, captions, timesteps and noise: comparable between steps, unlike the training loss."""
    num_timesteps = base.noise_scheduler.config.num_train_timesteps
    fixed = draw(data, config.num_eval_latents, num_timesteps, seed)
    total = 0.0
    for begin in range(0, config.num_eval_latents, config.batch_size):
        part = slice(begin, begin + config.batch_size)
        batch = Draw(
            views=fixed.views[part],
            captions=fixed.captions[part],
            timesteps=fixed.timesteps[part],
            posterior_noise=fixed.posterior_noise[part],
            noise=fixed.noise[part],
        )
        (loss,) = (losses or denoising_losses)(base, [rows], [data], [batch])
        total += loss.item() * len(batch.views)
    return total / config.num_eval_latents
