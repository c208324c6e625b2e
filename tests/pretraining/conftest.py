"""A tiny base, made as the shipped one is, and a folder of labelled images to learn from."""

import numpy as np
import pytest
from PIL import Image
from tiny_pretraining import CLASSES, CONFIG, SILENT, SIZES

from flowerti.config.data import DataConfig
from pretraining.allowed_images import AllowedImages
from pretraining.autoencoder import train_autoencoder
from pretraining.herbarium import draw_examples
from pretraining.networks import start_base


@pytest.fixture(scope="session")
def examples():
    return draw_examples(CONFIG, 0, CONFIG.num_images)


@pytest.fixture(scope="session")
def vae(examples):
    return train_autoencoder(CONFIG, examples.images, SILENT)


@pytest.fixture
def base(vae, examples):
    return start_base(SIZES, CONFIG.seed + 2, vae, examples.captions)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """Three classes of 40 px images, one of them to be held out; every image is another one."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, number in (("train", 5), ("validation", 2), ("test", 2)):
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def allowed(image_folder):
    data = DataConfig(kind="image_folder", root=str(image_folder), image_size_px=32)
    return AllowedImages(data=data, held_out_classes=("azalea",))
