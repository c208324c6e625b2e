"""Examples of the herbarium: drawn images with captions, half of common species, half of any traits.

The forms and names of rare species never occur, so that tokens for them are not trivial to train. An example depends
only on the seed and its index, so blocks can be created on any machine. This module does not know about networks.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from flowerti.config.data import ImbalanceConfig
from flowerti.data.sources.herbarium.herbarium import draw_traits
from flowerti.data.sources.herbarium.species import (
    COMMON,
    SPECIES,
    Species,
    Traits,
    random_traits,
    sample_traits,
    species_named,
)
from pretraining.allowed_images import AllowedImages, check_held_out
from pretraining.examples import BLOCK, Block, Examples
from pretraining.recipe import PretrainConfig
from pretraining.trait_captions import sample_caption


def drawn_blocks(config: PretrainConfig, allowed: AllowedImages) -> list[Block]:
    """Functions that draw all examples; `data`'s numbers of images do not matter, since no split is drawn.

    Raises:
        ValueError: a held-out species is unknown, no common one is left, or the data set should be cut.
    """
    if allowed.imbalance != ImbalanceConfig():
        raise ValueError("imbalance: the herbarium's examples are drawn anew and belong to no split: leave it out")
    held_out = allowed.held_out_classes
    check_held_out(held_out, [species.name for species in SPECIES])
    check_held_out([name for name in held_out if not species_named(name).rare], [s.name for s in COMMON])
    starts = range(0, config.num_images, BLOCK)
    return [partial(draw_examples, config, i, min(i + BLOCK, config.num_images), held_out) for i in starts]


def draw_examples(config: PretrainConfig, start: int, stop: int, held_out: Sequence[str] = ()) -> Examples:
    """Draw the examples from index `start` to `stop`, each from (seed, index) alone."""
    shown = [species for species in COMMON if species.name not in held_out]
    hidden = [species for species in COMMON if species.name in held_out]
    images, captions = [], []
    for index in range(start, stop):
        rng = np.random.default_rng([config.seed, index])
        species = shown[(index // 2) % len(shown)] if index % 2 == 0 else None
        traits = _traits_unlike(hidden, rng) if species is None else sample_traits(species, rng)
        images.append(draw_traits(traits, rng, config.sizes.sample_px))
        captions.append([sample_caption(traits, species, rng) for _ in range(config.captions_per_image)])
    return Examples(images=np.stack(images), captions=captions)


def _traits_unlike(hidden: Sequence[Species], rng: np.random.Generator) -> Traits:
    """Any traits but the forms of rare species and of those that are hidden."""
    while True:
        traits = random_traits(rng)
        if not any(_has_form_of(species, traits) for species in hidden):
            return traits


def _has_form_of(species: Species, traits: Traits) -> bool:
    same = ("arrangement", "petal_shape", "pattern", "centre")
    is_alike = all(getattr(species, name) == getattr(traits, name) for name in same)
    return is_alike and traits.num_petals in species.num_petals
