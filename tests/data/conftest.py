"""What tests of data sources and of the census share."""

from pathlib import Path

import pytest
from noise_folder import save_noise

from flowerti.data.dataset import SPLITS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    seed = 0
    for split, count in zip(SPLITS, (3, 2, 2), strict=True):
        for class_name in ("sword lily", "azalea", "Zinnia"):
            target = root / split / class_name
            target.mkdir(parents=True)
            for index in range(count):
                seed += 1
                save_noise(target / f"{index}.png", seed)
    return root
