"""What the cluster files must agree with: pinned versions, the project's own, and the driver of the pinned CUDA.

Knows neither the launcher's files nor Kubernetes; reads pyproject.toml and constraints.txt.
"""

import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
MIN_DRIVER_OF_CUDA = {12: 525, 13: 580}
"""Oldest NVIDIA driver of each major version of CUDA: Table 1 of
https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, read in November 2026."""
IMAGE_NAME = "flowerti"
IMAGE_USER = 1000
"""Number of the user in the image; the first user of Ubuntu's machine images has the same."""


def pins() -> dict[str, str]:
    """Version of each package in constraints.txt, by its canonical name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def project() -> dict[str, Any]:
    """The table [project] of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(extras: list[str]) -> list[Requirement]:
    """What the project asks for, with these extras.

    Raises:
        ValueError: the project has no such extra.
    """
    table = project()
    known = table["optional-dependencies"]
    if missing := [extra for extra in extras if extra not in known]:
        raise ValueError(f"pyproject.toml: no extra is called {missing[0]!r}: name one of {', '.join(known)}")
    lines = [*table["dependencies"], *(line for extra in extras for line in known[extra])]
    return [Requirement(line) for line in lines]


def cuda_major() -> int:
    """Major version of the CUDA that the pinned torch is built for."""
    return int(pins()["nvidia-cuda-runtime"].split(".")[0])


def min_driver() -> int:
    """Oldest NVIDIA driver that runs the pinned torch.

    Raises:
        ValueError: the table of drivers does not know this CUDA.
    """
    major = cuda_major()
    if major not in MIN_DRIVER_OF_CUDA:
        raise ValueError(f"constraints.txt: torch's CUDA is {major}: add its driver to deploy.pins.MIN_DRIVER_OF_CUDA")
    return MIN_DRIVER_OF_CUDA[major]
