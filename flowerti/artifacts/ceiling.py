"""What the ceiling leaves behind: what unseen real images and round trips change in rehearsal classes.

This module does not know how anything is computed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CeilingRow:
    """The rehearsal classes' mean F1 on validation under an arm, and its gain over the control that it builds on."""

    arm: str
    label: str
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
    rows: list[CeilingRow]
    headroom: float
    """Gain over the control of the largest number of unseen real images that was tried."""
    headroom_low: float
    headroom_high: float
    num_headroom: int
    """That number of images."""
    detectable_effect: float
    """The smallest true gain that the rehearsal finds four times in five."""
    learning_rate_factors: dict[str, float]
    """By control."""
