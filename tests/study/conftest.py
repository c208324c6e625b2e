"""Fixtures of the preflight: a folder of images, an experiment on it, and its run directory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


# flowerti is imported in the fixtures: at the top it would be imported before its type checks are installed
@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two images of each class in each split."""
    from refusals import CLASSES

    from flowerti.data.dataset import SPLITS

    rng = np.random.default_rng(0)
    for split in SPLITS:
        for class_name in CLASSES:
            folder = tmp_path / "images" / split / class_name
            folder.mkdir(parents=True)
            for index in range(2):
                image = rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)
                Image.fromarray(image).save(folder / f"{index}.png")
    return tmp_path / "images"


@pytest.fixture
def experiment(images: Path, tiny_base: Path) -> Any:
    """A small experiment that the preflight accepts."""
    from flowerti.config import experiment as config

    return config.Experiment(
        name="small",
        data=config.DataConfig(kind="image_folder", root=str(images), image_size_px=32),
        base=config.BaseConfig(path=str(tiny_base)),
        classifier=config.ClassifierConfig(backbone="resnet18"),
        selection=config.SelectionConfig(num_classes=1),
        scoring=config.ScoringConfig(extractors=("resnet18",)),
    )


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """A run directory that is still missing."""
    from flowerti.artifacts.run_directory import RunDirectory

    return RunDirectory(str(tmp_path / "run"))
