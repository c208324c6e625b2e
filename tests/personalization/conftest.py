"""Fixtures of workers; also lets the tests of one technique, in folders below, import the helpers of this folder."""

import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))


# flowerti is imported in the fixtures: at the top it would be imported before its type checks are installed
@pytest.fixture
def task(images: Any, tmp_path: Path) -> Any:
    """The task of one class with all images."""
    from small_worker import CLASS_NAME, TECHNIQUE

    from flowerti.personalization.worker import LearningTask

    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    addresses = tuple(str(folder / f"{i}.png") for i in range(len(images)))
    return LearningTask(
        technique=TECHNIQUE, class_name=CLASS_NAME, addresses=addresses, image_size_px=32, run_seed=5, key="k" * 64
    )


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """A run directory that is still missing."""
    from flowerti.artifacts.run_directory import RunDirectory

    return RunDirectory(str(tmp_path / "run"))
