"""Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685, eq. 3) of linear layers of a frozen network: h = W x + B A x.

All matrices of an adapter are stored in one flat row, so that optimiser, checkpoint and gradient handle one tensor.
They are applied by hooks on the layers' outputs; the network itself is never modified. The file format is that of
diffusers' `load_lora_weights`. This module does not know which layers of which network a technique adapts, nor about
classes or training.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"

Layers = dict[str, torch.nn.Linear]
"""The layers that an adapter applies to, by their names in its file, in the order of its row."""


def smallest_sides(folder: Path, ends: tuple[str, ...]) -> list[int]:
    """The smaller side of each weight whose name has one of these ends, from the headers of a network's files."""
    sides = []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            names = [name for name in opened.keys() if name.endswith(tuple(f"{end}.weight" for end in ends))]
            sides += [min(opened.get_slice(name).get_shape()[:2]) for name in names]
    return sides


def require_rank(sides: list[int], rank: int, section: str) -> None:
    """Check that a rank fits layers whose smaller sides these are.

    Raises:
        ValueError: there is no layer, or the rank is larger than one; names the setting in its section.
    """
    if not sides:
        raise ValueError("base: there is no attention layer that an adapter could add to")
    if rank > min(sides):
        raise ValueError(f"{section}.rank: {rank} is more than the smallest layer of the base has, {min(sides)}")


def start_adapter(layers: Layers, rank: int, seed: int, section: str) -> Float[Tensor, "1 parameters"]:
    """Initialise an adapter, float32: A uniform in +-1/sqrt(inputs), B zero, so that B A = 0 (Hu et al., section 4.1).

    Raises:
        ValueError: as `require_rank`.
    """
    require_rank([min(layer.in_features, layer.out_features) for layer in layers.values()], rank, section)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for layer in layers.values():
        bound = 1 / math.sqrt(layer.in_features)
        parts += [torch.empty(rank * layer.in_features).uniform_(-bound, bound, generator=generator)]
        parts += [torch.zeros(layer.out_features * rank)]
    return torch.cat(parts)[None].to(_device_of(layers))


def _device_of(layers: Layers) -> torch.device:
    return next(iter(layers.values())).weight.device


@contextmanager
def adapted(layers: Layers, parameters: Float[Tensor, "1 parameters"]) -> Iterator[None]:
    """Context manager that adds an adapter to layers; gradients flow to `parameters`.

    Raises:
        ValueError: the adapter belongs to another network.
    """
    matrices = _matrices(layers, parameters)
    handles = [layers[name].register_forward_hook(_adding(down, up)) for name, (down, up) in matrices.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _adding(down: Tensor, up: Tensor) -> Any:
    def add(_module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # h = W x + B (A x), scale alpha / r = 1: [..., inputs] -> [..., rank] -> [..., outputs]
        low = torch.nn.functional.linear(inputs[0], down.to(output.dtype))
        return output + torch.nn.functional.linear(low, up.to(output.dtype))

    return add


def _matrices(layers: Layers, parameters: Float[Tensor, "1 parameters"]) -> dict[str, tuple[Tensor, Tensor]]:
    """A [rank, inputs] and B [outputs, rank] of each layer, as views."""
    # sum over layers of rank * inputs (A) + outputs * rank (B) = rank * per_rank
    per_rank = sum(layer.in_features + layer.out_features for layer in layers.values())
    rank, rest = divmod(parameters.shape[1], per_rank) if per_rank else (0, 0)
    if rank == 0 or rest:
        raise ValueError(f"the adapter holds {parameters.shape[1]} numbers, which do not fit this base")
    found, begin = {}, 0
    for name, layer in layers.items():
        middle = begin + rank * layer.in_features
        end = middle + layer.out_features * rank
        found[name] = parameters[0, begin:middle].view(rank, -1), parameters[0, middle:end].view(-1, rank)
        begin = end
    return found


def adapter_bytes(layers: Layers, parameters: Float[Tensor, "1 parameters"]) -> bytes:
    """A safetensors file as diffusers reads it; its scale is 1."""
    tensors = {}
    for name, (down, up) in _matrices(layers, parameters.detach().cpu()).items():
        tensors[f"{name}{_DOWN}"] = down.contiguous()
        tensors[f"{name}{_UP}"] = up.contiguous()
    return save(tensors)


def read_adapter(layers: Layers, content: bytes) -> Float[Tensor, "1 parameters"]:
    """The adapter that `adapter_bytes` wrote, on the layers' device.

    Raises:
        ValueError: the file belongs to another network; names a layer.
    """
    tensors = load(content)
    parts = []
    for name, layer in layers.items():
        down, up = (tensors.pop(f"{name}{end}", None) for end in (_DOWN, _UP))
        if down is None or up is None or (down.shape[1], up.shape[0]) != (layer.in_features, layer.out_features):
            raise ValueError(f"the adapter has nothing that fits {name}: it was learnt on another base")
        parts += [down.flatten(), up.flatten()]
    if tensors:
        raise ValueError(f"the adapter holds {next(iter(tensors))}, which this base lacks: it was learnt on another")
    return torch.cat(parts)[None].to(_device_of(layers))
