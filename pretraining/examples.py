"""What the embedded base model learns from: drawn images with captions, half of common species, half of any traits.

An example depends on the seed and its index alone, so that blocks may be drawn anywhere. This module does not know
about networks.
"""

from dataclasses import dataclass

import numpy as np

from flowerti.demo.captions import sample_caption
from flowerti.demo.herbarium import draw_traits
from flowerti.demo.recipe import PretrainConfig
from flowerti.demo.species import COMMON, random_traits, sample_traits


@dataclass(kw_only=True, slots=True)
class Examples:
    """Captioned images: uint8 [n, height, width, 3], and for each the same number of captions."""

    images: np.ndarray
    captions: list[list[str]]


def draw_examples(config: PretrainConfig, start: int, stop: int) -> Examples:
    """Draws the examples from index `start` to `stop`, each from (seed, index) alone."""
    images, captions = [], []
    for index in range(start, stop):
        rng = np.random.default_rng([config.seed, index])
        species = COMMON[(index // 2) % len(COMMON)] if index % 2 == 0 else None
        traits = random_traits(rng) if species is None else sample_traits(species, rng)
        images.append(draw_traits(traits, rng, config.sizes.sample_px))
        captions.append([sample_caption(traits, species, rng) for _ in range(config.captions_per_image)])
    return Examples(images=np.stack(images), captions=captions)
