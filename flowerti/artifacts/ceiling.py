"""What the ceiling leaves behind: what unseen real images and round trips change in rehearsal classes.

This module does not know how anything is computed.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["real", "unseen_real", "unseen_round_trip", "round_trip", "round_trip_all"]
"""What a trial has besides the kept images. Nothing; unseen images of the rehearsal classes; in place of the kept ones
round trips of unseen images through the base's autoencoder, which is what a perfect generator behind it could draw;
round trips of the kept ones themselves; these in all classes, so that their look says nothing about the class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CeilingRow:
    """The rehearsal classes' mean F1 on validation under an arm, and its gain over the control that it builds on."""

    arm: str
    label: str
    kind: Kind
    control: str
    num_more: int
    """Unseen real images that each rehearsal class has more; 0 for none."""
    f1: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceiling:
    """The rehearsal as a whole."""

    class_names: list[str]
    """The rehearsal classes."""
    num_kept: int
    """Real images that each kept."""
    num_draws: int
    control: str
    """The free control with the highest F1, which the other arms build on."""
    control_label: str
    """In plain words."""
    rows: list[CeilingRow]
    headroom: float
    """Gain over the control of the largest number of unseen real images that was tried."""
    headroom_low: float
    headroom_high: float
    num_headroom: int
    """That number of images."""
    detectable_effect: float
    """The smallest true gain that the run finds four times in five, from its validation images of the weak classes."""
    learning_rate_factors: dict[str, float]
    """By control."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorthRow:
    """What the images of an arm gain, in unseen real images of each class that gain as much in the rehearsal."""

    split: str
    arm: str
    level: float
    control: str
    """Under which both gains are taken."""
    num_images: int
    """Synthetic images of a weak class that the arm may use, the mean over the classes."""
    gain: float
    low: float
    high: float
    worth: float | None
    """None where more than the most that were tried."""
    worth_low: float | None
    worth_high: float | None
    most: int
    """The most that were tried."""
