"""A folder of noise images as split/class/image, and the settings that read it."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from flowerti.config.experiment import DataConfig


def save_noise(path: Path, seed: int, side_px: int = 12) -> None:
    levels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path)


def config_of(folder: Path, **changes: object) -> DataConfig:
    return dataclasses.replace(DataConfig(kind="image_folder", root=str(folder), image_size_px=8), **changes)
