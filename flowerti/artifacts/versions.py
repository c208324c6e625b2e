"""Versions of Python and of the packages that numbers depend on."""

import platform
from importlib.metadata import version

_PACKAGES = ("ray", "torch", "torchvision", "diffusers", "transformers")


def versions() -> dict[str, str]:
    """Package name -> version, this project's own and Python's among them."""
    from flowerti import __version__

    return {
        "flowerti": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }
