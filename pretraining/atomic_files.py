"""Files that are there whole or not at all. It does not know what is in them."""

import os
from pathlib import Path

import numpy as np


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array, replacing the file atomically."""
    with open(f"{path}.part", "wb") as file:
        np.save(file, array)
    os.replace(f"{path}.part", path)


def write_text(path: Path, text: str) -> None:
    """Write a text, replacing the file atomically."""
    Path(f"{path}.part").write_text(text)
    os.replace(f"{path}.part", path)
