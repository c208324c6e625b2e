"""What an image is worth: how many unseen real images would gain as much.

The rehearsal says what n more real images of a class gain; read backwards, that curve says which n gains as much as
something else does. This module knows nothing about images or how a gain was measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import optimize

from flowerti.artifacts.ceiling import Ceiling, WorthRow
from flowerti.artifacts.records import SweepRow
from flowerti.tables import Table
from flowerti.tables.arms import Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """A difference of F1 with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Worth:
    """Real images that gain as much, with a 95 % interval; infinite where more than were tried."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Gains of 0, 1, 2, ... more real images of each class, at the numbers that were tried; they never fall."""

    num_more: Float64[np.ndarray, " points"]
    gain: Float64[np.ndarray, " points"]
    low: Float64[np.ndarray, " points"]
    high: Float64[np.ndarray, " points"]


def curve_of(num_more: Sequence[int], gains: Sequence[Gain]) -> Curve:
    """The rising curve that lies nearest to some gains, and those nearest to their lower and upper ends.

    More images of a class cannot make it harder in the mean, so a fall is chance: isotonic least squares (Barlow et al.
    1972, Statistical Inference under Order Restrictions), with gain 0 at 0 images.

    Args:
        num_more: rising numbers of at least 1.
        gains: the gain of each.
    """
    points = np.array([0, *num_more], dtype=np.float64)
    parts = {
        name: np.array([0.0, *(getattr(gain, name) for gain in gains)], dtype=np.float64)
        for name in ("value", "low", "high")
    }
    # the first point is known and must not be moved
    weights = np.array([1e6, *np.ones(len(num_more))])
    rising = {name: optimize.isotonic_regression(part, weights=weights).x for name, part in parts.items()}
    return Curve(num_more=points, gain=rising["value"], low=rising["low"], high=rising["high"])


def worth_of(curve: Curve, gain: Gain) -> Worth:
    """How many more real images gain as much.

    The interval allows for both: from what the gain's lower end is worth on the highest curve to what its upper end is
    worth on the lowest. A gain of 0 or below is worth no image.
    """
    return Worth(
        value=_number_at(curve.num_more, curve.gain, gain.value),
        low=_number_at(curve.num_more, curve.high, gain.low),
        high=_number_at(curve.num_more, curve.low, gain.high),
    )


def _number_at(numbers: Float64[np.ndarray, " points"], gains: Float64[np.ndarray, " points"], gain: float) -> float:
    """The smallest number whose gain is reached, along straight lines between the points."""
    if gain <= max(0.0, gains[0]):
        return 0.0
    place = int(np.searchsorted(gains, gain))
    if place == len(gains):
        return math.inf
    below, above = gains[place - 1], gains[place]
    share = (gain - below) / (above - below)
    return float(numbers[place - 1] + share * (numbers[place] - numbers[place - 1]))


def worth_rows(
    rehearsed: Ceiling, rows: Sequence[SweepRow], arms: Table[Arm], num_images: Mapping[str, int]
) -> list[WorthRow]:
    """What the images of each arm are worth whose gain is one over the control of the rehearsal's curve.

    These are the arms at fixed mass: a class's share of the batches, which added images raise, is worth something by
    itself.

    Args:
        rehearsed: the rehearsal on top of the control that the arms build on.
        rows: rows of the sweep, of both splits.
        arms: what the rows' arms are.
        num_images: synthetic images of a weak class, by source.
    """
    points = [row for row in rehearsed.rows if row.kind == "unseen_real"]
    gains = [Gain(value=row.gain, low=row.low, high=row.high) for row in points]
    curve = curve_of([row.num_more for row in points], gains)
    wanted = [row for row in rows if arms[row.arm].replaces and arms[row.arm].control == rehearsed.control]
    return [_worth_row(row, arms[row.arm], curve, num_images) for row in wanted]


def _worth_row(row: SweepRow, arm: Arm, curve: Curve, num_images: Mapping[str, int]) -> WorthRow:
    worth = worth_of(curve, Gain(value=row.content_gain, low=row.content_gain_low, high=row.content_gain_high))
    told = [number if math.isfinite(number) else None for number in (worth.value, worth.low, worth.high)]
    return WorthRow(
        split=row.split,
        arm=arm.name,
        level=row.ratio,
        control=arm.control,
        num_images=num_images.get(arm.source, 0),
        gain=row.content_gain,
        low=row.content_gain_low,
        high=row.content_gain_high,
        worth=told[0],
        worth_low=told[1],
        worth_high=told[2],
        most=int(curve.num_more[-1]),
    )
