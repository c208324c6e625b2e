"""Arms of the sweep as objects: what each trains on, how it treats it, and what it is compared with.

Images of a source come in at fixed mass, each in place of a real image of its class, or are added to the real ones.
Added images raise the share of their class, which alone can change its F1, whatever they show. `ARMS` holds the arms
that have a name of their own; those of single sources, alone or on top of a control, are made from rows of `sources`.
This module does not know how anything is trained, nor which arms a run wants.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from flowerti.tables.sources import SOURCES, Source, judged_source
from flowerti.tables.table import Table

Level = Literal["none", "ratio", "probability"]
Mass = Literal["fixed", "added"]
"""Whether a class keeps its share of the training images, or gets more of them."""
_NAME = re.compile(r"[A-Za-z0-9_+-]+")
"""Names are parts of file names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to train the classifier."""

    name: str
    label: str
    """In plain words, as the report has it."""
    source: str = ""
    """Whose synthetic images it trains with; empty for none."""
    level: Level = "none"
    """Meaning of its level: none (it runs once, at 0), synthetic images as a multiple of a class's real ones, or the
    probability that a real image is replaced by a synthetic one."""
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
    is_standing: bool = False
    """Whether every sweep that adds images has it run where its source has some (a negative control unless it is turned
    off); others are run where the sweep's config names them."""

    def __post_init__(self) -> None:
        """Reject an inconsistent arm.

        Raises:
            ValueError: the name is unfit for a file, or fields contradict each other; says which.
        """
        problems = {
            "its name must be letters, digits, _, + and -": not _NAME.fullmatch(self.name),
            "it has both a source and repeats": bool(self.source and self.repeats),
            "level must be 'none' where it has neither source nor repeats, and only there": (
                bool(self.pool) == (self.level == "none")
            ),
            "level 'probability' and replaces go together": self.replaces != (self.level == "probability"),
            "replaces and donor 'next' need a source": not self.source and (self.replaces or self.donor == "next"),
        }
        for problem, is_there in problems.items():
            if is_there:
                raise ValueError(f"arm {self.name!r}: {problem}")

    @property
    def pool(self) -> str:
        """The source whose images determine the classes of the arm and the maximum number of images; empty for none."""
        return self.source or self.repeats

    @property
    def mass(self) -> Mass | None:
        """How its images are mixed in; None for an arm without levels."""
        return None if self.level == "none" else "fixed" if self.replaces else "added"

    @property
    def is_free(self) -> bool:
        """Whether it costs no synthetic image."""
        return not self.source

    @property
    def is_control(self) -> bool:
        """Whether it trains on real images only, so that synthetic ones can be added to it."""
        return self.level == "none"

    @property
    def treatment(self) -> tuple[bool, bool, bool]:
        """The treatment of the real images, which must be that of its control."""
        return self.is_balanced, self.has_balanced_softmax, self.is_augmented

    @property
    def is_plain_prompt(self) -> bool:
        """Whether its images, each shown under its own class, need no more than a name."""
        return bool(self.source) and self.donor == "own" and SOURCES[self.source].is_name

    def as_trained(self) -> "Arm":
        """The arm without the fields that do not affect a training: label, control and `is_standing`."""
        return replace(self, label="", control="", is_standing=False)


BASELINE = Arm(name="real", label="real only")
"""The reference of every gain."""

ARMS: Table[Arm] = Table(
    "arm",
    [
        BASELINE,
        Arm(name="balanced", label="balanced sampling", control="balanced", is_balanced=True),
        Arm(name="balanced_softmax", label="balanced softmax", control="balanced_softmax", has_balanced_softmax=True),
        Arm(name="augmented", label="augmentation", control="augmented", is_augmented=True),
        Arm(
            name="balanced_augmented",
            label="balanced sampling and augmentation",
            control="balanced_augmented",
            is_balanced=True,
            is_augmented=True,
        ),
        Arm(
            name="balanced_softmax_augmented",
            label="balanced softmax and augmentation",
            control="balanced_softmax_augmented",
            has_balanced_softmax=True,
            is_augmented=True,
        ),
        Arm(name="repeated", label="own images repeated", level="ratio", repeats="token", is_standing=True),
        Arm(
            name="shuffled_token",
            label="another class's token",
            source="token",
            level="ratio",
            donor="next",
            is_standing=True,
        ),
    ],
)


def arm_of(source: Source) -> Arm:
    """The arm that adds the images of a source to the real ones."""
    return Arm(name=source.name, label=source.label, source=source.name, level="ratio")


def stacked_name(control: str, source: str) -> str:
    """Name of the arm that adds the images of a source to a control."""
    return f"{control}+{source}"


def stacked(control: Arm, source: Source) -> Arm:
    """The arm that adds the images of a source to a control."""
    return replace(_on(control, source.name, source.label), source=source.name, level="ratio")


def repeated_on(control: Arm) -> Arm:
    """The arm that repeats real images under the treatment of a control: what images on top of it must beat."""
    twin = ARMS["repeated"]
    return replace(_on(control, twin.name, twin.label), repeats=twin.repeats, level="ratio")


def replaced_on(control: Arm, source: Source) -> Arm:
    """The arm in which images of a source take the place of a control's real ones, within each weak class."""
    name, label = f"{source.name}_replace", f"{source.label} instead of real"
    return replace(_on(control, name, label), source=source.name, level="probability", replaces=True)


def shuffled_on(control: Arm) -> Arm:
    """The negative control of `replaced_on` for the judged source: each weak class gets another one's images."""
    judged = SOURCES[judged_source()]
    arm = _on(control, f"shuffled_{judged.name}_replace", f"another class's {judged.label} instead of real")
    return replace(arm, source=judged.name, level="probability", replaces=True, donor="next")


def _on(control: Arm, name: str, label: str) -> Arm:
    """A control under another name, to which images are then added; the baseline's is left out."""
    is_plain = control.name == BASELINE.name
    return replace(
        control,
        name=name if is_plain else stacked_name(control.name, name),
        label=label if is_plain else f"{control.label} and {label}",
        control=control.name,
        is_standing=False,
    )


def source_arms() -> list[Arm]:
    """The arms that add the images of single sources, in the order of the table of sources.

    Raises:
        ValueError: a source is called like an arm of the table.
    """
    arms = [arm_of(source) for source in SOURCES if source.is_arm]
    for arm in arms:
        if arm.name in ARMS:
            raise ValueError(f"{arm.name!r} is a source of images and an arm: rename one of them")
    return arms


def judged_arm(mass: Mass = "added", control: Arm = BASELINE) -> Arm:
    """The arm that the sweep's recommendation is about: at fixed mass on top of a control, or added to real images."""
    source = SOURCES[judged_source()]
    return replaced_on(control, source) if mass == "fixed" else arm_of(source)


def reference_of(arms: Iterable[Arm], arm: Arm) -> Arm | None:
    """The arm that shows each class as often, treats it likewise and has none of its images: what they must beat.

    For an arm at fixed mass it is its control. For one that adds images it is the arm that repeats real ones as often
    at the same ratio; if there are several, that of the same treatment, then that of the same source.

    Returns:
        None where there is none, or where this arm has no images of another kind.
    """
    if not arm.source:
        return None
    if arm.replaces:
        return next((other for other in arms if other.name == arm.control), None)
    found = [other for other in arms if other.repeats]
    return max(found, key=lambda other: (other.control == arm.control, other.repeats == arm.source), default=None)
