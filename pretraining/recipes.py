"""Ready-made bases: each recipe is a function that says which images a base sees and how it is made.

A recipe states what differs from the defaults, which are the embedded base. It opens no file.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from flowerti.config.data import DataConfig, ImbalanceConfig
from flowerti.config.presets import UNSEEN_CLASSES
from pretraining.allowed_images import AllowedImages
from pretraining.networks import NetworkSizes
from pretraining.recipe import AutoencoderConfig, PretrainConfig, SharpeningConfig, SteppingConfig, TextConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A base that can be made again."""

    images: AllowedImages = field(default_factory=AllowedImages)
    """Which images it may see."""
    config: PretrainConfig = field(default_factory=PretrainConfig)
    """How it is made."""


def embedded() -> Recipe:
    """The base in the package: drawn images of the herbarium's common species."""
    return Recipe()


def flowers64_v2() -> Recipe:
    """Oxford 102 at 64 px: the training part of the cut of seed 0, without twelve classes."""
    return Recipe(
        images=AllowedImages(
            data=DataConfig(kind="flowers102", root="../shared/data/flowers102-64"),
            imbalance=ImbalanceConfig(resplit=True),
            held_out_classes=UNSEEN_CLASSES,
        ),
        config=PretrainConfig(
            captions_per_image=8,
            mirrored=True,
            stepping=SteppingConfig(bfloat16=True, muon=True),
            vae=AutoencoderConfig(steps=4_000, rate=4e-3, decay=0.998),
            text=TextConfig(steps=400),
            steps=1_600,
            num_cycles=2,
            rate=2e-3,
            # an autoencoder of this precision needs none
            sharpening=SharpeningConfig(num_steps=0, num_generated=0),
            sizes=NetworkSizes(vae_widths=(16, 32, 96), latent_channels=12, unet_widths=(48, 96, 160)),
        ),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"embedded": embedded, "flowers64_v2": flowers64_v2}


def recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        ValueError: there is no such recipe; lists those that exist.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} does not exist: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]()
