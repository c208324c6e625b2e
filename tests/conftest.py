"""Fixtures for all tests: the shared folder, tiny text-to-image bases, and a few images."""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

# read when torch and huggingface_hub are imported, in this process and in those that tests start
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from tiny_base import make_xl, replace_autoencoder, save_tiny_base


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_root() -> Path:
    """The folder with real data sets and base models beside the check-out."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: real data sets and base models are not kept in the project")
    return folder


@pytest.fixture(scope="session")
def make_tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Factory of tiny bases; the same arguments give the same folder.

    Arguments: `prediction_type` (None leaves it out of the scheduler's file, as Stable Diffusion 1.5 does), `seed` of
    the weights, `text_gain`, by which cross attention's output is scaled, so that words matter more, `is_xl` for
    SDXL's layout with two text encoders, and `is_tiny_vae` for an AutoencoderTiny.
    """
    made: dict[str, Path] = {}

    def make(
        *,
        prediction_type: str | None = None,
        seed: int = 0,
        text_gain: float = 1.0,
        is_xl: bool = False,
        is_tiny_vae: bool = False,
    ) -> Path:
        name = f"{prediction_type}-{seed}-{text_gain}-{is_xl}-{is_tiny_vae}"
        if name not in made:
            folder = tmp_path_factory.mktemp("bases") / hashlib.sha256(name.encode()).hexdigest()[:8]
            save_tiny_base(folder, prediction_type, seed, text_gain)
            if is_xl:
                make_xl(folder, seed, text_gain)
            if is_tiny_vae:
                replace_autoencoder(folder, seed)
            made[name] = folder
        return made[name]

    return make


@pytest.fixture(scope="session")
def tiny_base(make_tiny_base: Callable[..., Path]) -> Path:
    """The folder of a tiny base with random weights; do not write to it."""
    return make_tiny_base()


@pytest.fixture(scope="session")
def base(tiny_base: Path):
    """The tiny base, loaded in float32; do not change it."""
    from flowerti.diffusion import load_base

    return load_base(tiny_base, "float32", "cpu")


@pytest.fixture(scope="session")
def images():
    """Five smooth images, uint8 [5, 32, 32, 3], none of them its own mirror image."""
    import numpy as np
    import torch

    rng = np.random.default_rng(7)
    across = np.linspace(0, 1, 32)[None, None, :, None]
    down = np.linspace(0, 1, 32)[None, :, None, None]
    slopes = rng.uniform(-1, 1, (2, 5, 1, 1, 3))
    values = 0.5 + 0.5 * np.sin(6 * (slopes[0] * across + slopes[1] * down) + across)
    return torch.from_numpy((255 * values).round().astype(np.uint8))
