"""Weights files of feature extractors: read safely, hashed, and loaded without the classification layer.

This module does not know which networks there are, nor where their weights come from.
"""

import hashlib
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

FIELDS = "classifier.backbone or scoring.extractors"
"""Where a user names a network, for errors."""


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict on the CPU: .safetensors, or a file that torch.load reads with weights_only.

    Raises:
        ValueError: the file cannot be read, or holds something else; names it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"weights file {path} cannot be read: fetch it again, or save a plain state dict") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"weights file {path} is not a flat state dict {{name: tensor}}: save model.state_dict()")
    return state


def load_without_classifier(name: str, network: nn.Module, path: Path) -> nn.Module:
    """Load all weights but those of the last linear layer, which turns features into logits of other classes.

    Raises:
        ValueError: the network has no linear layer, or the file cannot be read or does not fit; names it.
    """
    state = read_state(path)
    linear = [layer_name for layer_name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(f"{name!r} ({FIELDS}) does not end in a linear layer: choose another model")
    network.set_submodule(linear[-1], nn.Identity())
    trunk_state = {key: value for key, value in state.items() if not key.startswith(linear[-1] + ".")}
    try:
        network.load_state_dict(trunk_state)
    except RuntimeError as error:
        raise ValueError(f"weights file {path} does not fit {name!r}: name a state dict of it ({error})") from error
    return network
