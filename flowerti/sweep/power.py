"""What a sweep can detect, before it is run: from the number of weak classes, of their held-out images, of repetitions.

Only the images' part is known beforehand. What tokens, pools and draws of the training images add is taken from a run
that was made before; without one, a run detects less than this says. This module does not know about arms or trials.
"""

import math
from typing import NamedTuple

from flowerti.sweep.answers import detectable_effect
from flowerti.sweep.intervals import Error, ImagesBehind, least_variance

FEW, MANY = 0.2, 0.4
"""Shares of a weak class's images on which two arms differ, as the reference runs have them (LOG.md, 2026-11-27)."""
_LEVEL = 0.5
"""Mean F1 of weak classes; the answer hardly depends on it."""
_MOST_IMAGES = 1_000_000
_MOST_UNITS = 1_000


class Repeated(NamedTuple):
    """How much a gain differs between independent units of its repetitions, and how many there are."""

    std: float
    """Standard deviation of the gain, at least 0."""
    num_units: int
    """At least 2."""


KNOWN = Repeated(0.0, 2)
"""Where another token would give the same gain."""


def detectable_gain(num_classes: int, num_images: int, differing: float, repeated: Repeated = KNOWN) -> float:
    """The gain of the weak classes' mean F1 that a one-sided test at 5 % finds four times in five.

    An image that turns from a miss into a hit moves its class's F1 by about (2 - F1) / 2n, so that with a share d of
    the images differing the mean over k classes has the variance d n ((2 - F1) / 2n)^2 / k.

    Args:
        num_classes: weak classes, at least 1.
        num_images: held-out images of each, at least 2.
        differing: share of them that two arms classify differently, in (0, 1].
        repeated: spread between units of repetitions, whose mean has the variance std^2 / num_units.

    Raises:
        ValueError: a number is out of range.
    """
    if num_classes < 1 or num_images < 2 or not 0 < differing <= 1:
        raise ValueError("power: at least 1 weak class and 2 held-out images of each, a share in (0, 1]")
    if repeated.std < 0 or repeated.num_units < 2:
        raise ValueError("power: a spread of at least 0 between at least 2 units of repetitions")
    images = ImagesBehind(
        per_class=float(num_images),
        freedom=float(num_classes * (num_images - 1)),
        reach=1 / num_images / math.sqrt(num_classes),
    )
    seen = differing * num_images * ((2 - _LEVEL) / 2 * images.reach) ** 2
    of_units = repeated.std**2 / repeated.num_units
    variance = max(seen, least_variance(_LEVEL, images)) + of_units
    reference = Error(
        error=math.sqrt(variance),
        share_of_units=of_units / variance,
        units_freedom=repeated.num_units - 1.0,
        images_freedom=images.freedom,
    )
    return detectable_effect(reference)


def units_needed(gain: float, num_classes: int, num_images: int, differing: float, std: float) -> int | None:
    """The units of repetitions, such as learnings, with which a gain is found four times in five.

    Args:
        gain: of mean F1, positive.
        num_classes: as in `detectable_gain`.
        num_images: as in `detectable_gain`.
        differing: as in `detectable_gain`.
        std: standard deviation of the gain between units.

    Returns:
        At least 2; None where a thousand are too few, because the images are.

    Raises:
        ValueError: as `detectable_gain`.
    """

    def is_found(num_units: int) -> bool:
        return detectable_gain(num_classes, num_images, differing, Repeated(std, num_units)) <= gain

    return next((num for num in range(2, _MOST_UNITS + 1) if is_found(num)), None) if is_found(_MOST_UNITS) else None


def images_needed(gain: float, num_classes: int, differing: float) -> int:
    """The held-out images of each weak class with which a gain is found four times in five.

    Args:
        gain: of mean F1, in (0, 1).
        num_classes: as in `detectable_gain`.
        differing: as in `detectable_gain`.

    Raises:
        ValueError: the gain is out of range, or needs more than a million images; or as `detectable_gain`.
    """
    if not 0 < gain < 1 or detectable_gain(num_classes, _MOST_IMAGES, differing) > gain:
        raise ValueError(
            f"power: a gain of {gain:g} is not in (0, 1), or needs more than {_MOST_IMAGES} images a class"
        )
    low, high = 1, _MOST_IMAGES  # the answer lies in (low, high]: the detectable gain falls with every image
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if detectable_gain(num_classes, middle, differing) <= gain else (middle, high)
    return high
