"""The table of where synthetic images come from.

Config checks, sampling keys, comparisons, arms, costs, plan, status and report iterate over `SOURCES`; nothing else
names a source. This module does not know how an image is drawn or what a technique learns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from flowerti.tables.table import Table

Mode = Literal["text_to_image", "image_to_image", "round_trip", "inter_class"]
"""How images are drawn: from noise; from the class's own training images, noised part of the way; from these through
the autoencoder alone; from training images of other classes, noised part of the way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassNames:
    """What a class is called."""

    class_name: str
    alternative: str = ""
    """Another common name; empty where none is known."""
    latin: str = ""
    """Its Latin name; empty where none is known."""
    token: str = ""
    """The placeholder token of its learnt rows; empty where none was learnt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One way to get synthetic images of a class."""

    name: str
    label: str
    """In plain words, as the report has it."""
    colour: str
    """In the report's figures, as #rrggbb."""
    words: Callable[[ClassNames], str]
    """Returns the words for the prompt of a class; empty if the class has no images of this source."""
    technique: str = ""
    """What must have been learnt for the class (a row of `config.techniques.TECHNIQUES`); empty for nothing."""
    mode: Mode = "text_to_image"
    """How its images are drawn."""
    has_noisy_token: bool = False
    """Whether each image has a token of its own, the learnt rows with noise on them."""
    has_contexts: bool = False
    """Whether the words stand in contexts from a bank, the same in every class, in place of the one prompt."""
    rivals: tuple[str, ...] = ()
    """Sources that it is compared with: whether it lies nearer to the real images than each of them."""
    comparison_seed: str = ""
    """Seed name of these comparisons' permutations, by default "exchange/<name>"."""
    is_arm: bool = True
    """Whether the sweep trains with its images."""
    is_judged: bool = False
    """Whether the sweep's recommendation is about its images; exactly one source is."""
    is_default: bool = False
    """Whether images are drawn from it unless the config says otherwise."""
    is_name: bool = False
    """Whether it needs no more than a name: such a source costs no learning, and a token should beat it."""

    @property
    def starts_from_images(self) -> bool:
        """Whether images of the data set are drawn from."""
        return self.mode != "text_to_image"

    @property
    def has_steps(self) -> bool:
        """Whether images are denoised, which takes a prompt and guidance."""
        return self.mode != "round_trip"

    @property
    def has_strength(self) -> bool:
        """Whether images of the data set are noised part of the way and denoised again."""
        return self.starts_from_images and self.has_steps

    @property
    def is_per_learning(self) -> bool:
        """Whether each learning of a class has images of its own: a learning has its own draw of training images."""
        return bool(self.technique) or self.starts_from_images


SOURCES: Table[Source] = Table(
    "source of images",
    [
        Source(
            name="raw",
            label="class name",
            colour="#0072b2",
            words=lambda names: names.class_name,
            is_default=True,
            is_name=True,
        ),
        Source(
            name="alternative_name",
            label="other name",
            colour="#009e73",
            words=lambda names: names.alternative,
            is_default=True,
            rivals=("raw",),
            is_name=True,
        ),
        Source(
            name="latin_name",
            label="Latin name",
            colour="#56b4e9",
            words=lambda names: names.latin,
            is_default=True,
            rivals=("raw",),
            is_name=True,
        ),
        Source(
            name="token",
            label="learnt token",
            colour="#d55e00",
            words=lambda names: names.token,
            technique="textual_inversion",
            is_default=True,
            rivals=("raw", "alternative_name", "latin_name"),
            comparison_seed="exchange",
            is_judged=True,
        ),
        Source(
            name="lora",
            label="token and adapter",
            colour="#e69f00",
            words=lambda names: names.token,
            technique="lora",
            rivals=("token",),
        ),
        Source(
            name="round_trip",
            label="autoencoder alone",
            colour="#999999",
            words=lambda names: names.class_name,
            mode="round_trip",
        ),
        Source(
            name="raw_img2img",
            label="class name on own images",
            colour="#332288",
            words=lambda names: names.class_name,
            mode="image_to_image",
            rivals=("raw",),
        ),
        Source(
            name="token_img2img",
            label="learnt token on own images",
            colour="#882255",
            words=lambda names: names.token,
            technique="textual_inversion",
            mode="image_to_image",
            rivals=("token",),
        ),
        Source(
            name="lora_img2img",
            label="token and adapter on own images",
            colour="#999933",
            words=lambda names: names.token,
            technique="lora",
            mode="image_to_image",
            rivals=("lora",),
        ),
        Source(
            name="token_inter_class",
            label="learnt token on other classes' images",
            colour="#44aa99",
            words=lambda names: names.token,
            technique="textual_inversion",
            mode="inter_class",
            rivals=("token",),
            # a whole label would be wrong: arms of its own share it (`tables.arms.inter_class_arms`)
            is_arm=False,
        ),
        Source(
            name="token_noise",
            label="learnt token with noise",
            colour="#cc6677",
            words=lambda names: names.token,
            technique="textual_inversion",
            has_noisy_token=True,
            rivals=("token",),
        ),
        Source(
            name="token_prompts",
            label="learnt token in contexts",
            colour="#aa4499",
            words=lambda names: names.token,
            technique="textual_inversion",
            has_contexts=True,
        ),
        Source(
            name="cross_attention",
            label="token and cross-attention",
            colour="#cc79a7",
            words=lambda names: names.token,
            technique="cross_attention",
            rivals=("token",),
        ),
        Source(
            name="dreambooth",
            label="token and fine-tuned U-Net",
            colour="#117733",
            words=lambda names: names.token,
            technique="dreambooth",
            rivals=("token",),
        ),
        Source(
            name="text_lora",
            label="token and text adapter",
            colour="#ddcc77",
            words=lambda names: names.token,
            technique="text_lora",
            rivals=("token",),
        ),
        Source(
            name="shared_lora",
            label="token and shared adapter",
            colour="#661100",
            words=lambda names: names.token,
            technique="shared_lora",
            rivals=("token",),
        ),
    ],
)


def default_sources() -> tuple[str, ...]:
    """The sources that images are drawn from unless the config says otherwise."""
    return tuple(source.name for source in SOURCES if source.is_default)


def judged_source() -> str:
    """The source whose images the sweep's recommendation is about."""
    (name,) = (source.name for source in SOURCES if source.is_judged)
    return name
