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
class SteppingConfig:
    """How steps are computed; the defaults are the shipped base."""

    bfloat16: bool = False
    """Whether losses are computed in bfloat16, with weights in float32; slow where a CPU has no such instructions."""
    muon: bool = False
    """Whether matrices are stepped by Muon and all else by AdamW, or everything by AdamW."""
    compiled: bool = False
    """Whether the denoiser is compiled for its training: minutes at the start of each process, then more a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderConfig:
    """How the autoencoder is trained; the defaults are the shipped base."""

    steps: int = 4_000
    """Optimiser steps."""
    batch: int = 8
    """Images a step, over all processes."""
    rate: float = 1.2e-3
    """Peak learning rate."""
    kl_weight: float = 1e-6
    """Weight of the latents' divergence from a normal distribution; a higher one makes them smoother and less exact."""
    decay: float = 0.0
    """Decay of the averaged weights, which are those that are kept; 0 keeps the last ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """How the text encoder is trained; the defaults are the shipped base."""

    steps: int = 800
    """Optimiser steps before there is a denoiser."""
    batch: int = 128
    """Captions a step."""
    rate: float = 1e-3
    """Peak learning rate."""
    share: float = 0.25
    """Share of the denoiser's learning rate at which it learns on with the denoiser."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """How the base is made; the defaults are the shipped base."""

    num_images: int = 20_000
    """Herbarium only: images drawn, half of common species and half of any attributes."""
    captions_per_image: int = 4
    """Captions sampled for each image; one of them is taken at each step."""
    empty_share: float = 0.1
    """Share of training captions that are empty, for classifier-free guidance."""
    mirrored: bool = False
    """Whether each image is learnt from its mirror image as well; the list of what was seen names the images alone."""
    stepping: SteppingConfig = field(default_factory=SteppingConfig)
    """How autoencoder and denoiser take their steps."""
    vae: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    """How images become latents, and latents images."""
    text: TextConfig = field(default_factory=TextConfig)
    """How captions are understood."""
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
