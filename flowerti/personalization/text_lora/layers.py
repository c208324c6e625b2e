"""Which layers of the text encoders an adapter applies to: the projections of every self-attention.

Their names are those that diffusers looks for, also where transformers has flattened a text encoder since. This module
does not know what an adapter is.
"""

from pathlib import Path

import torch

from flowerti.diffusion import Base
from flowerti.personalization.low_rank import Layers, require_rank, smallest_sides

_ENDS = (".q_proj", ".k_proj", ".v_proj", ".out_proj")
_INNER = "text_model."


def text_layers(base: Base) -> Layers:
    """The layers in the order of the text encoders, by their names in the adapter's file."""
    found: Layers = {}
    for encoder, part in zip(base.text_encoders, ("text_encoder", "text_encoder_2"), strict=False):
        for name, module in encoder.named_modules():
            if isinstance(module, torch.nn.Linear) and name.endswith(_ENDS):
                found[f"{part}.{_INNER}{name.removeprefix(_INNER)}"] = module
    return found


def check_rank(folder: Path, rank: int) -> None:
    """Check a rank before the base in a folder is loaded, from the shapes in its files.

    Raises:
        ValueError: the text encoders have no attention, or the rank is larger than one of its layers.
    """
    parts = [part for part in ("text_encoder", "text_encoder_2") if (folder / part).is_dir()]
    require_rank([side for part in parts for side in smallest_sides(folder / part, _ENDS)], rank, "text_lora")
