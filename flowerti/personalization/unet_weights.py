"""Weights of the U-Net that are learnt whole, end to end in one row, in place of the base's own.

The base's parameters are swapped for slices of the row and put back; they themselves are never written to. The file is
a state dict with diffusers' own names. This module does not know which weights are learnt, nor about classes or files.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

_NUM_BYTES = 4
"""Of a float32 number, as files and the row hold them."""

Learns = Callable[[str], bool]
"""Whether the parameter of that name is learnt."""


def names_in(unet: Any, learns: Learns) -> list[str]:
    """The parameters that are learnt, in the order of the U-Net."""
    return [name for name, _ in unet.named_parameters() if learns(name)]


def num_bytes_in(folder: Path, learns: Learns) -> int:
    """Bytes that the learnt parameters take as float32, from the headers of a base's files; 0 if it has none."""
    total = 0
    for file in (folder / "unet").glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            shapes = [opened.get_slice(name).get_shape() for name in opened.keys() if learns(name)]
            total += sum(math.prod(shape) for shape in shapes) * _NUM_BYTES
    return total


def flattened(unet: Any, names: Sequence[str]) -> Float[Tensor, "1 parameters"]:
    """The U-Net's own values of some of its parameters, a float32 copy.

    Raises:
        ValueError: there is none.
    """
    if not names:
        raise ValueError("base: the U-Net has none of the layers that would be learnt: use another technique")
    return torch.cat([unet.get_parameter(name).detach().float().flatten() for name in names])[None]


@contextmanager
def replaced(unet: Any, names: Sequence[str], row: Float[Tensor, "1 parameters"]) -> Iterator[None]:
    """Context manager that puts slices of a row in the place of parameters; gradients flow to the row.

    Raises:
        ValueError: the row belongs to another U-Net.
    """
    own = {name: unet.get_parameter(name) for name in names}
    parts = _parts(own, row)
    _put(unet, {name: parts[name].to(parameter.dtype) for name, parameter in own.items()})
    try:
        yield
    finally:
        _put(unet, own)


def _put(unet: Any, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        # not setattr, which takes nothing but a leaf in the place of a parameter and would cut the gradient off
        unet.get_submodule(module)._parameters[last] = tensor


def _parts(own: dict[str, Tensor], row: Float[Tensor, "1 parameters"]) -> dict[str, Tensor]:
    sizes = [parameter.numel() for parameter in own.values()]
    if sum(sizes) != row.shape[1]:
        raise ValueError(f"the weights are {row.shape[1]} numbers, this base's U-Net has {sum(sizes)} in their place")
    # one split: the gradient of a slice is as long as the row, so that hundreds of them would not end
    slices = row[0].split(sizes)
    return {name: part.view(own[name].shape) for name, part in zip(own, slices, strict=True)}


def weights_bytes(unet: Any, names: Sequence[str], row: Float[Tensor, "1 parameters"]) -> bytes:
    """A safetensors file of float32 weights, which `unet.load_state_dict(..., strict=False)` of diffusers takes."""
    own = {name: unet.get_parameter(name) for name in names}
    # copies, because safetensors refuses tensors that share memory
    return save({name: part.clone() for name, part in _parts(own, row.detach().cpu()).items()})


def read_weights(unet: Any, names: Sequence[str], content: bytes) -> Float[Tensor, "1 parameters"]:
    """The row that `weights_bytes` wrote, on the U-Net's device.

    Raises:
        ValueError: the file belongs to another U-Net; names a layer.
    """
    tensors = load(content)
    for name in names:
        if name not in tensors or tensors[name].shape != unet.get_parameter(name).shape:
            raise ValueError(f"the file has nothing that fits {name}: it was learnt on another base")
    if len(tensors) > len(names):
        surplus = next(name for name in tensors if name not in set(names))
        raise ValueError(f"the file holds {surplus}, which this base lacks: it was learnt on another")
    row = torch.cat([tensors[name].flatten() for name in names])[None]
    return row.to(next(unet.parameters()).device)
