"""The examples in the work folder: created once, reused, and rejected if they belong to other settings.

This module does not know where blocks are run, or how the examples are used.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from flowerti.artifacts.identity import key_of
from flowerti.artifacts.training_images import TRAINING_IMAGES
from pretraining.allowed_images import AllowedImages
from pretraining.atomic_files import write_array, write_text
from pretraining.blocks import example_blocks
from pretraining.examples import Block, Examples
from pretraining.recipe import PretrainConfig
from pretraining.training_images import training_images_json

RunBlocks = Callable[[Sequence[Block]], list[Examples]]
_KEY = "key.txt"


def run_here(blocks: Sequence[Block]) -> list[Examples]:
    """Make the examples in this process, one block after another."""
    return [block() for block in blocks]


def prepare_examples(config: PretrainConfig, allowed: AllowedImages, work_dir: Path, run_blocks: RunBlocks) -> None:
    """Make all examples where the work folder has none yet.

    Args:
        config: how the base is made.
        allowed: which images it may see.
        work_dir: folder for what is finished.
        run_blocks: calls the blocks and returns what they give, in their order.

    Raises:
        ValueError: the folder holds examples of other settings, or the images are not to be had; names it.
    """
    folder, key = work_dir / "images", examples_key(config, allowed)
    if (folder / _KEY).exists():
        _check_key(folder, key)
        return
    blocks = run_blocks(example_blocks(config, allowed))
    folder.mkdir(parents=True, exist_ok=True)
    images = np.concatenate([block.images for block in blocks])
    if not len(images):
        raise ValueError(f"data.root: no image in {allowed.data.root} can be read: nothing to learn from")
    write_array(folder / "images.npy", images)
    captions = [captions for block in blocks for captions in block.captions]
    write_text(folder / "captions.json", json.dumps(captions))
    write_text(folder / TRAINING_IMAGES, training_images_json(images))
    write_text(folder / _KEY, key)  # written last, as a marker of completeness


def examples_key(config: PretrainConfig, allowed: AllowedImages) -> str:
    """Hash of the settings that determine the examples; those of the training are not included."""
    settings = [config.num_images, config.captions_per_image, config.seed, config.sizes.sample_px]
    # before, such a cut parted images that are alike
    cut = ["alike images together"] if allowed.imbalance.resplit else []
    return key_of(allowed, *settings, *cut)


def _check_key(folder: Path, key: str) -> None:
    if (folder / _KEY).read_text() != key:
        raise ValueError(
            f"work_dir: {folder} holds examples of other settings (data, held-out classes, seed or size): give "
            "another work folder, or remove this one"
        )


def load_examples(work_dir: Path) -> Examples:
    """The prepared examples; images are memory-mapped."""
    folder = work_dir / "images"
    return Examples(
        images=np.load(folder / "images.npy", mmap_mode="c"),  # torch warns about read-only arrays
        captions=json.loads((folder / "captions.json").read_text()),
    )


def training_images_of(work_dir: Path) -> str:
    """The content of the base's file of hashes."""
    return (work_dir / "images" / TRAINING_IMAGES).read_text()
