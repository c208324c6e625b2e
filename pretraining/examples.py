"""What a base learns from: images with captions, made block by block. It does not know where they come from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BLOCK = 500
"""Number of examples per block."""


@dataclass(kw_only=True, slots=True)
class Examples:
    """Captioned images: uint8 [n, height, width, 3], and for each the same number of captions."""

    images: np.ndarray
    captions: list[list[str]]


Block = Callable[[], Examples]
"""Makes some of the examples; any process may call it, and gets the same ones."""
