"""Lists what a base was trained on: `python -m pretraining.training_images --output FILE --data.kind ...`.

`ray_jobs/pretrain.py` writes the list of a base that it makes. This command writes it for a base that brings none,
where its card says which images it was trained on; a run takes the file by `--base.training-images`. This module knows
nothing about networks.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import UInt8

from flowerti.artifacts import training_images
from flowerti.data.dataset import Split
from flowerti.data.image_pass import ImagePass
from flowerti.data.images import pixel_sha256
from pretraining.allowed_images import AllowedImages, list_allowed
from pretraining.atomic_files import write_text


def training_images_json(images: UInt8[np.ndarray, "num height width 3"]) -> str:
    """The list of the images that a training is fed with, before any augmentation."""
    return training_images.training_images_json(map(pixel_sha256, images), int(images.shape[1]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Lists the images that a base was trained on."""

    output: Path
    """The file; replaced where it exists."""
    images: Annotated[AllowedImages, tyro.conf.arg(name="")] = field(default_factory=AllowedImages)
    """Which images the base has seen."""
    splits: tuple[Split, ...] = ("train",)
    """Splits of which it has seen all images of classes that were not held out."""
    image_size_px: int = 64
    """Side of the square at which it was trained, in pixels."""


def write_list(options: Options) -> int:
    """Hash the images and write the file.

    Returns:
        The number of different images.

    Raises:
        ValueError: the data set is incomplete, a held-out class is unknown, or an image cannot be read; names it.
    """
    data = options.images.data
    if data.kind == "herbarium":
        raise ValueError("data.kind: a herbarium base learns from images that are drawn for it alone: name a data set")
    records = list_allowed(options.images, options.splits).records
    looks = ImagePass(data, hash_size_px=options.image_size_px).of(records)
    digests = {look.pixel_sha256 for look in looks if look.pixel_sha256}
    write_text(options.output, training_images.training_images_json(digests, options.image_size_px))
    return len(digests)


def main() -> int:
    """Read the options and write the list; returns the exit code, 2 for input that was refused."""
    options = tyro.cli(Options)
    try:
        print(f"{write_list(options)} different images are listed in {options.output}")
    except ValueError as error:
        print(f"training_images: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
