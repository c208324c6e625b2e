"""Which image of the data set each synthetic one starts from, and at which strength.

This module opens no image and does not know how one is drawn from another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class StartImage:
    """A training image that others are drawn from."""

    id: str
    class_name: str
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What one synthetic image starts from."""

    image: StartImage
    strength: float
    """Share of the noise ladder that it goes back, in (0, 1]; 0 for none."""


def starts_of(
    images: Sequence[StartImage], strengths: Sequence[float], seed: int, indices: Sequence[int]
) -> tuple[Start, ...]:
    """The start of each synthetic image by its index.

    The images come in a random order, again and again. Strengths come in turn as well and move on by one whenever the
    images begin anew, so that each image meets each strength, and the first few synthetic images have all strengths.

    Args:
        images: at least one.
        strengths: at least one.
        seed: of the order.
        indices: of the synthetic images in their set.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    found = []
    for index in indices:
        turn, place = divmod(index, len(images))
        found.append(Start(image=images[order[place]], strength=strengths[(turn + place) % len(strengths)]))
    return tuple(found)
