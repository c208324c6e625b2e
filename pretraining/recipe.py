"""How a base model is made, in numbers: images, steps, batches, rates and widths; nothing is done here."""

from dataclasses import dataclass, field

from pretraining.networks import NetworkSizes


@dataclass(frozen=True, kw_only=True, slots=True)
class SharpeningConfig:
    """How the decoder is trained again; the defaults are the shipped base."""

    num_steps: int = 2_400
    """Optimiser steps."""
    batch: int = 8
    """Images a step, over all processes."""
    rate: float = 1.2e-3
    """Peak learning rate of the decoder."""
    adversarial_from: int = 500
    """Step from which there is a discriminator; before it, features and pixels alone."""
    adversarial_weight: float = 0.2
    """Weight of the discriminator's loss, reached 260 steps after it began to learn."""
    generated_from: int = 1_400
    """Step from which every other latent is a generated one, which only the discriminator judges."""
    num_generated: int = 800
    """Generated latents to choose from."""
    discriminator_rate: float = 2e-3
    """Learning rate of the discriminator."""
    share: float = 0.85
    """Share of the trained weights in the decoder that is kept; the rest are those it began with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """How the base is made; the defaults are the shipped base."""

    num_images: int = 20_000
    """Herbarium only: images drawn, half of common species and half of any attributes."""
    captions_per_image: int = 4
    """Captions sampled for each image; one of them is taken at each step."""
    empty_share: float = 0.1
    """Share of training captions that are empty, for classifier-free guidance."""
    vae_steps: int = 4_000
    """Steps of the autoencoder."""
    vae_batch: int = 8
    """Images a step of the autoencoder."""
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
    """Steps of the denoiser in each cycle."""
    num_cycles: int = 2
    """Times that the denoiser's learning rate rises and falls (warm restarts, Loshchilov and Hutter 2017,
    arXiv:1608.03983), to half the peak of the one before; a finished cycle is kept in the work folder."""
    batch: int = 64
    """Latents a step of the denoiser."""
    rate: float = 1.2e-3
    """Peak learning rate of the denoiser."""
    sharpening: SharpeningConfig = field(default_factory=SharpeningConfig)
    """How the decoder alone gets its sharpness back."""
    seed: int = 0
    """Seed of images, captions, weights and batches."""
    sizes: NetworkSizes = field(default_factory=NetworkSizes)
    """Widths of the networks."""
