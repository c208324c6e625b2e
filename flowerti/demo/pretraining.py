"""Makes the embedded base model: captioned pictures, autoencoder, text encoder, denoiser, and a sharper decoder.

Plain functions on one process; a stage reports through a callback. It knows nothing about Ray, rare species' pictures
or what a base is used for later.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from flowerti.demo.captions import sample_caption
from flowerti.demo.descent import AveragedWeights, descend, rate_at, set_rate
from flowerti.demo.herbarium import draw_traits
from flowerti.demo.networks import (
    MAX_TOKENS,
    Base,
    NetworkSizes,
    as_pipeline,
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    build_vae,
)
from flowerti.demo.sharpening import LiteFeatures, SharpeningConfig
from flowerti.demo.species import COMMON, random_traits, sample_traits
from flowerti.demo.standing import load_standing, save_standing
from flowerti.demo.text_pretraining import train_text_encoder
from flowerti.shares import WHOLE, Part

_STANDING_EVERY_STEPS = 250
_DRAWN_AT_ONCE = 60
_DRAWN_AT_GUIDANCE = (1.5, 2.0, 3.0)

Report = Callable[[dict[str, float | int | str]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """How the base is made; the defaults are the shipped base."""

    num_pictures: int = 20_000
    """Pictures drawn, half of common species and half of any attributes."""
    captions_per_picture: int = 4
    """Captions drawn for each picture; one of them is taken at each step."""
    empty_share: float = 0.1
    """Share of training captions that are empty, for classifier-free guidance."""
    vae_steps: int = 4_000
    """Steps of the autoencoder."""
    vae_batch: int = 8
    """Pictures a step of the autoencoder."""
    vae_rate: float = 1.2e-3
    """Peak learning rate of the autoencoder."""
    text_steps: int = 800
    """Steps of the text encoder before there is a denoiser."""
    text_batch: int = 128
    """Captions a step of the text encoder."""
    text_rate: float = 1e-3
    """Peak learning rate of the text encoder."""
    text_share: float = 0.25
    """Share of the denoiser's learning rate at which the text encoder learns on with it."""
    steps: int = 5_000
    """Steps of the denoiser in each course."""
    num_courses: int = 1
    """Times that the denoiser's learning rate rises and falls (warm restarts, Loshchilov and Hutter 2017,
    arXiv:1608.03983), to half the peak of the one before; a finished course is kept in the work folder."""
    batch: int = 64
    """Latents a step of the denoiser."""
    rate: float = 1.2e-3
    """Peak learning rate of the denoiser."""
    sharpening: SharpeningConfig = field(default_factory=SharpeningConfig)
    """How the decoder alone gets its sharpness back."""
    seed: int = 0
    """Seed of pictures, captions, weights and batches."""
    sizes: NetworkSizes = field(default_factory=NetworkSizes)
    """Widths of the networks."""


@dataclass(kw_only=True, slots=True)
class Examples:
    """Captioned pictures: uint8 [n, height, width, 3], and for each the same number of captions."""

    pictures: np.ndarray
    captions: list[list[str]]


def draw_examples(config: PretrainConfig, start: int, stop: int) -> Examples:
    """Draws the examples from index `start` to `stop`, each from (seed, index) alone."""
    pictures, captions = [], []
    for index in range(start, stop):
        rng = np.random.default_rng([config.seed, index])
        species = COMMON[(index // 2) % len(COMMON)] if index % 2 == 0 else None
        traits = random_traits(rng) if species is None else sample_traits(species, rng)
        pictures.append(draw_traits(traits, rng, config.sizes.sample_px))
        captions.append([sample_caption(traits, species, rng) for _ in range(config.captions_per_picture)])
    return Examples(pictures=np.stack(pictures), captions=captions)


def join_examples(blocks: list[Examples]) -> Examples:
    """Blocks of examples in the order given."""
    return Examples(
        pictures=np.concatenate([block.pictures for block in blocks]),
        captions=[captions for block in blocks for captions in block.captions],
    )


def to_unit(pictures: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
    """Pictures as the autoencoder takes them: float32 in [-1, 1], channels first."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def autoencoder_loss(
    vae: AutoencoderKL, pictures: Float[Tensor, "n 3 h w"], noise: Float[Tensor, "n c latent_h latent_w"]
) -> Float[Tensor, ""]:
    """Squared error, once more on 4x4 averages for the colours, with a tiny KL term to keep latents near the origin.

    A loss that pays for edges (L1 of finite differences) was tried first: it lost the colours for good.
    """
    posterior = vae.encode(pictures).latent_dist  # type: ignore[union-attr]
    restored = vae.decode(posterior.mean + posterior.std * noise).sample  # type: ignore[union-attr]
    error = restored - pictures
    colours = torch.nn.functional.avg_pool2d(error, 4)
    return 4.0 * error.square().mean() + 8.0 * colours.square().mean() + 1e-6 * posterior.kl().mean()


def train_autoencoder(
    config: PretrainConfig, pictures: np.ndarray, report: Report, part: Part = WHOLE
) -> AutoencoderKL:
    """Trains the autoencoder and measures its scaling factor.

    Args:
        config: steps, batch, rate, seed and sizes.
        pictures: uint8 [n, height, width, 3].
        report: called every 50 steps with what, step and this part's loss.
        part: this process's share of the batches.

    Returns:
        The autoencoder in evaluation mode, with scaling_factor = 1 / (standard deviation of its latents).
    """
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed + 1)
    vae = build_vae(config.sizes)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=config.vae_rate, betas=(0.9, 0.98))
    source = torch.from_numpy(pictures)
    for step in range(config.vae_steps):
        set_rate(optimizer, config.vae_rate * rate_at(step, config.vae_steps, 50))
        chosen = torch.randint(len(source), (config.vae_batch,), generator=generator)
        shape = (config.vae_batch, config.sizes.latent_channels, config.sizes.latent_px, config.sizes.latent_px)
        noise = torch.randn(shape, generator=generator)
        loss = autoencoder_loss(vae, to_unit(source[part.cut(chosen)]), part.cut(noise))
        descend(loss, optimizer, list(vae.parameters()), part)
        if step % 50 == 0 or step == config.vae_steps - 1:
            report({"what": "autoencoder", "step": step, "loss": loss.item()})
    vae.eval()
    moments = encode_moments(vae, pictures[:: max(1, len(pictures) // 1000)])
    vae.register_to_config(scaling_factor=1.0 / float(moments[:, 0].std()))
    return vae


@torch.no_grad()
def encode_moments(vae: AutoencoderKL, pictures: np.ndarray) -> Float[Tensor, "n 2 c h w"]:
    """Posterior mean and standard deviation of each picture's latent, before scaling."""
    moments = []
    for start in range(0, len(pictures), 64):
        batch = to_unit(torch.from_numpy(np.array(pictures[start : start + 64])))
        posterior = vae.encode(batch).latent_dist  # type: ignore[union-attr]
        moments.append(torch.stack([posterior.mean, posterior.std], dim=1))
    return torch.cat(moments)


@torch.no_grad()
def picture_features(pictures: np.ndarray) -> Float[Tensor, "n dim"]:
    """Features of EfficientNet-Lite1 for each picture, uint8 [n, height, width, 3]: its form as well as its colours."""
    lite, features = LiteFeatures().eval(), []
    for start in range(0, len(pictures), 64):
        batch = to_unit(torch.from_numpy(np.array(pictures[start : start + 64])))
        features.append(lite.pooled(batch))
    return torch.cat(features)


@torch.no_grad()
def reconstruction_psnr(vae: Any, pictures: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of pictures through the autoencoder (posterior means)."""
    errors = []
    for start in range(0, len(pictures), 64):
        batch = to_unit(torch.from_numpy(np.array(pictures[start : start + 64])))
        latent = vae.encode(batch).latent_dist.mean  # type: ignore[union-attr]
        restored = vae.decode(latent).sample.clamp(-1.0, 1.0)  # type: ignore[union-attr]
        errors.append((restored - batch).square().mean(dim=(1, 2, 3)) / 4.0)
    return float(-10.0 * torch.log10(torch.cat(errors).mean()))


def tokenize(base: Base, captions: list[list[str]]) -> Int64[Tensor, "n k tokens"]:
    """Padded token ids of every caption; the k of a picture lie side by side."""
    flat = [caption for group in captions for caption in group]
    ids = base.tokenizer(
        flat, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    ).input_ids
    return ids.view(len(captions), -1, MAX_TOKENS)


def start_base(config: PretrainConfig, vae: AutoencoderKL, captions: list[list[str]]) -> Base:
    """A trained autoencoder with an untrained denoiser, text encoder and a tokenizer learnt from the captions."""
    torch.manual_seed(config.seed + 2)
    tokenizer = build_tokenizer(caption for group in captions for caption in group)
    return Base(
        tokenizer=tokenizer,
        vae=vae,
        text_encoder=build_text_encoder(tokenizer, config.sizes),
        unet=build_unet(config.sizes),
    )


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


def train_text(
    config: PretrainConfig, base: Base, captions: list[list[str]], features: Float[Tensor, "n dim"], report: Report
) -> None:
    """Trains the text encoder in place against features of the pictures."""
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
        captions: captions of each picture.
        moments: as `encode_moments` gives them, of each picture.
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


@torch.no_grad()
def draw_latents(
    base: Base, captions: list[list[str]], seed: int, places: Int64[np.ndarray, " num"]
) -> Float[Tensor, "num c h w"]:
    """Latents that the base draws from captions of its training, before scaling; each from (seed, place) alone.

    The guidance scale goes by the place, too, from 1.5 to 3.
    """
    pipeline: Any = as_pipeline(base)
    drawn = torch.empty(len(places), base.unet.config["in_channels"], *[base.unet.config["sample_size"]] * 2)
    for number, guidance_scale in enumerate(_DRAWN_AT_GUIDANCE):
        of_scale = np.flatnonzero(places % len(_DRAWN_AT_GUIDANCE) == number)
        for begin in range(0, len(of_scale), _DRAWN_AT_ONCE):
            rows = of_scale[begin : begin + _DRAWN_AT_ONCE]
            rngs = [np.random.default_rng([seed, int(place)]) for place in places[rows]]
            groups = [captions[int(rng.integers(len(captions)))] for rng in rngs]
            latents = pipeline(
                [group[int(rng.integers(len(group)))] for group, rng in zip(groups, rngs, strict=True)],
                num_inference_steps=20,
                guidance_scale=guidance_scale,
                generator=[torch.Generator().manual_seed(int(rng.integers(2**40))) for rng in rngs],
                output_type="latent",
            ).images
            drawn[torch.from_numpy(rows)] = latents / base.vae.config["scaling_factor"]
    return drawn


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
