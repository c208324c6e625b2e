"""The table of where synthetic images come from.

Config checks, sampling keys, comparisons, arms, costs, plan, status and report iterate over `SOURCES`; nothing else
names a source. This module does not know how an image is drawn or what a technique learns.
"""

from collections.abc import Callable
from dataclasses import dataclass

from flowerti.tables.table import Table


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
    ],
)


def default_sources() -> tuple[str, ...]:
    """The sources that images are drawn from unless the config says otherwise."""
    return tuple(source.name for source in SOURCES if source.is_default)


def judged_source() -> str:
    """The source whose images the sweep's recommendation is about."""
    (name,) = (source.name for source in SOURCES if source.is_judged)
    return name
