"""Examples of any labelled data source: its images, each with captions that say its class.

An image's captions depend on the seed and its place in the shuffled listing alone, so blocks may be read anywhere.
This module knows nothing about networks.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from flowerti.data.access import read_image
from flowerti.data.dataset import Record
from pretraining.allowed_images import AllowedImages, list_allowed
from pretraining.captions import class_caption, names_of_classes
from pretraining.examples import BLOCK, Block, Examples
from pretraining.recipe import PretrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledBlock:
    """Inputs of a block of examples."""

    first_index: int
    """Place of the first record in the shuffled listing."""
    records: tuple[Record, ...]
    names: tuple[tuple[str, ...], ...]
    """What the class of each record is called."""
    skip_unreadable: bool


def labelled_blocks(config: PretrainConfig, allowed: AllowedImages) -> list[Block]:
    """Functions that read all images that the base may see; the classes are shuffled.

    Raises:
        ValueError: the data set is incomplete, or a held-out class is unknown; names it.
    """
    listed = list_allowed(allowed)
    names = names_of_classes(allowed.data.kind, listed.dataset.class_names, allowed.held_out_classes)
    order = np.random.default_rng([config.seed]).permutation(len(listed.records))
    records = tuple(listed.records[i] for i in order)
    blocks: list[Block] = []
    for first in range(0, len(records), BLOCK):
        of_block = records[first : first + BLOCK]
        block = LabelledBlock(
            first_index=first,
            records=of_block,
            names=tuple(names[record.class_id] for record in of_block),
            skip_unreadable=allowed.data.skip_unreadable,
        )
        blocks.append(partial(read_examples, config, block))
    return blocks


def read_examples(config: PretrainConfig, block: LabelledBlock) -> Examples:
    """Read the images of a block at the base's size, and caption each from (seed, place) alone.

    Raises:
        ValueError: an image cannot be read and unreadable ones are not skipped; names it.
    """
    size, images, captions = config.sizes.sample_px, [], []
    for place, (record, names) in enumerate(zip(block.records, block.names, strict=True)):
        try:
            images.append(read_image(record.address, size))
        except ValueError:
            if not block.skip_unreadable:
                raise
            continue
        rng = np.random.default_rng([config.seed, block.first_index + place])
        captions.append([class_caption(names, rng) for _ in range(config.captions_per_image)])
    return Examples(images=np.array(images, dtype=np.uint8).reshape(-1, size, size, 3), captions=captions)
