"""Which layers of a U-Net an adapter applies to: the projections of every attention, as in diffusers' own scripts.

This module does not know what an adapter is.
"""

from pathlib import Path
from typing import Any

import torch

from flowerti.personalization.low_rank import Layers, require_rank, smallest_sides

_ENDS = (".to_q", ".to_k", ".to_v", ".to_out.0")


def unet_layers(unet: Any) -> Layers:
    """The layers in the order of the U-Net, by their names in the adapter's file."""
    return {
        f"unet.{name}": module
        for name, module in unet.named_modules()
        if isinstance(module, torch.nn.Linear) and name.endswith(_ENDS)
    }


def check_rank(folder: Path, rank: int, section: str) -> None:
    """Check a rank before the base in a folder is loaded, from the shapes in its files.

    Raises:
        ValueError: the U-Net has no attention, or the rank is larger than one of its layers.
    """
    require_rank(smallest_sides(folder / "unet", _ENDS), rank, section)
