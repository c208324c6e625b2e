"""Arms of the sweep as objects: what each trains on, how it treats it, and what it is compared with.

`ARMS` holds the arms that have a name of their own; the arms of single sources, and those on top of a control, are made
from rows of `sources`. This module does not know how anything is trained, nor which arms a run wants.
"""

from dataclasses import dataclass, replace
from typing import Literal

from flowerti.sources import SOURCES, Source, judged_source
from flowerti.tables import Table

Level = Literal["none", "ratio", "probability"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to train the classifier."""

    name: str
    label: str
    """In plain words, as the report has it."""
    source: str = ""
    """Whose synthetic images it trains with; empty for none."""
    level: Level = "none"
    """What its number means: none (it runs once, at 0), synthetic images as a multiple of a class's real ones, or the
    probability that a real image gives way to a synthetic one."""
    control: str = "real"
    """The arm without synthetic images that treats the real ones in the same way."""
    is_balanced: bool = False
    """Whether classes are drawn equally often."""
    has_balanced_softmax: bool = False
    """Whether the loss is Balanced Softmax (Ren et al. 2020)."""
    is_augmented: bool = False
    """Whether training images are strongly augmented."""
    donor: Literal["own", "next"] = "own"
    """Whose images of the source a weak class gets: its own, or those of the next weak class (a negative control)."""
    repeats: str = ""
    """A source; a weak class that has images of it gets as many of its own real images instead. Empty for none. More
    images of a class, even wrong ones, raise its share, and that alone can raise its F1."""
    replaces: bool = False
    """Whether synthetic images take the place of real ones instead of being added."""

    @property
    def pool(self) -> str:
        """The source whose images say which classes the arm adds to, and how many there may be; empty for none."""
        return self.source or self.repeats

    @property
    def is_free(self) -> bool:
        """Whether it costs no synthetic image."""
        return not self.source


ARMS: Table[Arm] = Table(
    "arm",
    [
        Arm(name="real", label="real only"),
        Arm(name="balanced", label="balanced sampling", control="balanced", is_balanced=True),
        Arm(name="balanced_softmax", label="balanced softmax", control="balanced_softmax", has_balanced_softmax=True),
        Arm(name="augmented", label="augmentation", control="augmented", is_augmented=True),
        Arm(name="repeated", label="own images repeated", level="ratio", repeats="token"),
        Arm(name="shuffled_token", label="another class's token", source="token", level="ratio", donor="next"),
        Arm(name="token_replace", label="token instead of real", source="token", level="probability", replaces=True),
    ],
)


def arm_of(source: Source) -> Arm:
    """The arm that adds the images of a source to the real ones."""
    return Arm(name=source.name, label=source.label, source=source.name, level="ratio")


def stacked(control: Arm, source: Source) -> Arm:
    """The arm that adds the images of a source on top of a control."""
    return replace(
        control,
        name=f"{control.name}+{source.name}",
        label=f"{control.label} and {source.label}",
        source=source.name,
        level="ratio",
        control=control.name,
    )


def source_arms() -> list[Arm]:
    """The arms of single sources, in the order of the table of sources."""
    return [arm_of(source) for source in SOURCES if source.is_arm]


def judged_arm() -> Arm:
    """The arm that the sweep's recommendation is about."""
    return arm_of(SOURCES[judged_source()])
