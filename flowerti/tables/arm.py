"""An arm of the sweep: what it trains on, how it treats it, and what it is compared with.

This module does not know which arms there are, nor how anything is trained.
"""

import dataclasses
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from flowerti.tables.sources import SOURCES

Level = Literal["none", "ratio", "probability", "share"]
Mass = Literal["fixed", "added"]
"""Whether a class keeps its share of the training images, or gets more of them."""
_NAME = re.compile(r"[A-Za-z0-9_+-]+")
"""Names are parts of file names."""
_LATER = ("features", "round_trips", "begins_balanced", "labels", "held_against")
"""Fields that came after trials had keys: what was trained before them keeps its key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to train the classifier."""

    name: str
    label: str
    """In plain words, as the report has it."""
    source: str = ""
    """Whose synthetic images it trains with; empty for none."""
    level: Level = "none"
    """Meaning of its level: none (it runs once, at 0), synthetic images as a multiple of a class's real ones, the
    probability that a real image is replaced by a synthetic one, or the share of steps that are its first stage."""
    control: str = "real"
    """The arm without synthetic images that treats the real ones in the same way."""
    is_balanced: bool = False
    """Whether classes are drawn equally often."""
    has_balanced_softmax: bool = False
    """Whether the loss is Balanced Softmax (Ren et al. 2020)."""
    is_augmented: bool = False
    """Whether training images are strongly augmented."""
    features: Literal["", "gaussian", "perturbed"] = ""
    """What is done to frozen features: nothing; more are drawn from Gaussians of the classes, up to as many in each; or
    all get random noise, and are mixed within their class."""
    donor: Literal["own", "next"] = "own"
    """Whose images of the source a weak class gets: its own, or those of the next weak class (a negative control)."""
    repeats: str = ""
    """A source; a weak class that has images of it gets as many of its own real images instead. Empty for none. More
    images of a class, even wrong ones, raise its share, and that alone can raise its F1."""
    replaces: bool = False
    """Whether synthetic images take the place of real ones instead of being added."""
    round_trips: Literal["none", "others", "all"] = "none"
    """In which classes real images give way, at the same probability, to their own round trips through the base's
    autoencoder: in none, in those without images of the source, or in all. A look of drawn images then says nothing
    about the class."""
    begins_balanced: bool = False
    """Whether it has a first stage, a share of its steps, in which classes are drawn equally often: those that have
    images of the source from these alone, the others from their real ones. The rest of the steps is its control's."""
    labels: Literal["own", "shared", "source"] = "own"
    """Of its images, drawn from another class's: their class's, as whose they come in; shared with that class as the
    images say; or that class's alone."""
    held_against: str = ""
    """The arm of the same treatment that its images must beat, where that is no row of `ARMS` that others find by
    themselves (see `reference_of`); empty for that one."""
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
                (bool(self.pool) or self.round_trips == "all" or self.begins_balanced) == (self.level == "none")
            ),
            "level 'share' and begins_balanced go together": self.begins_balanced != (self.level == "share"),
            "begins_balanced and Balanced Softmax correct for the counts of classes twice": (
                self.begins_balanced and self.has_balanced_softmax
            ),
            "level 'probability' and replaces go together": self.replaces != (self.level == "probability"),
            "replaces and donor 'next' need a source": (
                not self.source and ((self.replaces and self.round_trips != "all") or self.donor == "next")
            ),
            "labels of another class need a source between classes": (
                self.labels != "own"
                and any(row.name == self.source and row.mode != "inter_class" for row in SOURCES.so_far)
            ),
            "round trips take the place of real images, in all classes or beside a source": (
                self.round_trips != "none" and (not self.replaces or (self.round_trips == "all") == bool(self.pool))
            ),
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
        """How its images are mixed in; None for an arm without levels, or with stages."""
        return None if self.level in ("none", "share") else "fixed" if self.replaces else "added"

    @property
    def is_free(self) -> bool:
        """Whether it costs no synthetic image."""
        return not self.source and self.round_trips == "none"

    @property
    def is_control(self) -> bool:
        """Whether it trains on real images only, so that synthetic ones can be added to it."""
        return self.level == "none"

    @property
    def treatment(self) -> tuple[bool, bool, bool, str]:
        """The treatment of the real images, which must be that of its control."""
        return self.is_balanced, self.has_balanced_softmax, self.is_augmented, self.features

    @property
    def is_plain_prompt(self) -> bool:
        """Whether its images, each shown under its own class, need no more than a name."""
        return bool(self.source) and self.donor == "own" and SOURCES[self.source].is_name

    def as_trained(self) -> "Arm":
        """The arm without what no training depends on: label, control, what it is held against, `is_standing`."""
        return replace(self, label="", control="", held_against="", is_standing=False)

    def key_fields(self) -> dict[str, Any]:
        """What the key of a trial holds: the fields that affect a training, later ones where they are used."""
        defaults = {field.name: field.default for field in dataclasses.fields(self) if field.name in _LATER}
        fields = dataclasses.asdict(self.as_trained())
        return {name: value for name, value in fields.items() if name not in defaults or value != defaults[name]}
