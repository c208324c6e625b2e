"""What a sweep can detect, before it is run: from the number of weak classes and of their held-out images.

Only the images' part is known beforehand. What tokens, pools and draws of the training images add is not, so a run
detects less than this says. This module does not know about arms or trials.
"""

import math

from flowerti.sweep.answers import detectable_effect
from flowerti.sweep.intervals import Error, ImagesBehind, unseen_variance

FEW, MANY = 0.2, 0.4
"""Shares of a weak class's images on which two arms differ, as the reference runs have them (LOG.md, 2026-11-27)."""
_LEVEL = 0.5
"""Mean F1 of weak classes; the answer hardly depends on it."""
_MOST_IMAGES = 1_000_000


def detectable_gain(num_classes: int, num_images: int, differing: float) -> float:
    """The gain of the weak classes' mean F1 that a one-sided test at 5 % finds four times in five.

    An image that turns from a miss into a hit moves its class's F1 by about (2 - F1) / 2n, so that with a share d of
    the images differing the mean over k classes has the variance d n ((2 - F1) / 2n)^2 / k.

    Args:
        num_classes: weak classes, at least 1.
        num_images: held-out images of each, at least 2.
        differing: share of them that two arms classify differently, in (0, 1].

    Raises:
        ValueError: a number is out of range.
    """
    if num_classes < 1 or num_images < 2 or not 0 < differing <= 1:
        raise ValueError("power: at least 1 weak class and 2 held-out images of each, a share in (0, 1]")
    images = ImagesBehind(
        per_class=float(num_images),
        freedom=float(num_classes * (num_images - 1)),
        reach=1 / num_images / math.sqrt(num_classes),
    )
    seen = differing * num_images * ((2 - _LEVEL) / 2 * images.reach) ** 2
    error = math.sqrt(seen + unseen_variance(_LEVEL, images))
    reference = Error(error=error, share_of_units=0.0, units_freedom=0.0, images_freedom=images.freedom)
    return detectable_effect(reference)


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
