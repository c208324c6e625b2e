"""Which examples a base learns from, by the kind of its data: drawn anew where a source can, else the listed images."""

from collections.abc import Callable

from pretraining.allowed_images import AllowedImages
from pretraining.examples import Block
from pretraining.herbarium import drawn_blocks
from pretraining.labelled import labelled_blocks
from pretraining.recipe import PretrainConfig

_OWN_BLOCKS: dict[str, Callable[[PretrainConfig, AllowedImages], list[Block]]] = {"herbarium": drawn_blocks}
"""Kinds of data that bring richer examples than images with names; all others are listed and read."""


def example_blocks(config: PretrainConfig, allowed: AllowedImages) -> list[Block]:
    """Functions that make all examples, block by block.

    Raises:
        ValueError: sizes disagree, the data set is incomplete, or a held-out class is unknown; names it.
    """
    if allowed.data.image_size_px != config.sizes.sample_px:
        raise ValueError(
            f"data.image_size_px is {allowed.data.image_size_px} and config.sizes.sample_px {config.sizes.sample_px}: "
            "a base is trained at the size of its images, so set both to the same"
        )
    return _OWN_BLOCKS.get(allowed.data.kind, labelled_blocks)(config, allowed)
