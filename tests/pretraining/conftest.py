"""A tiny base, made as the shipped one is."""

import pytest
from tiny_base import CONFIG, SIZES, silent

from pretraining.autoencoder import train_autoencoder
from pretraining.examples import draw_examples
from pretraining.networks import start_base


@pytest.fixture(scope="session")
def examples():
    return draw_examples(CONFIG, 0, CONFIG.num_images)


@pytest.fixture(scope="session")
def vae(examples):
    return train_autoencoder(CONFIG, examples.images, silent)


@pytest.fixture
def base(vae, examples):
    return start_base(SIZES, CONFIG.seed + 2, vae, examples.captions)
