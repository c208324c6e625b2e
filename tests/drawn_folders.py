"""Folders of drawn images, a class a folder, and facts about them that tests change."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def draw_classes(root: Path, sizes: dict[str, int], *, side_px: int = 40, suffix: str = "png", seed: int = 0) -> Path:
    """Smooth colours that differ from image to image, so that no two are alike."""
    rng = np.random.default_rng(seed)
    for class_name, num in sizes.items():
        folder = root / class_name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(num):
            cells = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            image = Image.fromarray(cells).resize((side_px, side_px), Image.Resampling.BICUBIC)
            image.save(folder / f"{index}.{suffix}")
    return root


def a_count(name: str, num_train: int, num_held_out: int = 4) -> Any:
    from flowerti.artifacts.records import ClassCount

    return ClassCount(class_name=name, num_train=num_train, num_validation=num_held_out, num_test=num_held_out)


def some_facts(**changes: Any) -> Any:
    """Five classes, four of which can be weak, a small base and two processors."""
    from flowerti.choosing.facts import Cut, Facts
    from flowerti.choosing.machine import Machine

    weak = tuple(a_count(name, num) for name, num in (("a", 40), ("b", 20), ("c", 10), ("d", 5)))
    cut = Cut(counts=(*weak, a_count("e", 2, 1)), weak=weak, left_out={}, resplit=False, is_made=True)
    values = {
        "root": "images",
        "kind": "image_folder",
        "base": "base",
        "base_px": 64,
        "num_base_parameters": 5_000_000,
        "cut": cut,
        "backbones": ("resnet50", "efficientnet_lite0"),
        "inception": "",
        "machine": Machine(num_cpus=2, memory_gb=24.0),
    }
    return Facts(**(values | changes))
