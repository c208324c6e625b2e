"""Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685, eq. 3) of a frozen U-Net: h = W x + B A x.

The layers are the projections of every attention block, as in the training scripts of diffusers. All matrices of an
adapter are stored in one flat row, so that optimiser, checkpoint and gradient handle a single tensor. They are applied
by hooks on the layers' outputs; the U-Net itself is never modified. The file format is that of diffusers'
`load_lora_weights`. This module does not know about classes or training.
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

_PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
_PREFIX = "unet."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


def adapted_layers(unet: Any) -> dict[str, torch.nn.Linear]:
    """The layers that an adapter applies to, by name, in the order of the U-Net."""
    return {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, torch.nn.Linear) and name.endswith(tuple(f".{end}" for end in _PROJECTIONS))
    }


def check_rank(unet_folder: Path, rank: int) -> None:
    """Check a rank before the U-Net is loaded, from the shapes in its files.

    Raises:
        ValueError: as `start_adapter`.
    """
    ends = tuple(f".{end}.weight" for end in _PROJECTIONS)
    sides = []
    for file in sorted(unet_folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            sides += [min(opened.get_slice(name).get_shape()[:2]) for name in opened.keys() if name.endswith(ends)]
    _require_rank(sides, rank)


def _require_rank(sides: list[int], rank: int) -> None:
    if not sides:
        raise ValueError("base: the U-Net has no attention layer that an adapter could add to")
    if rank > min(sides):
        raise ValueError(f"lora.rank: {rank} is more than the U-Net's smallest layer has, {min(sides)}")


def start_adapter(unet: Any, rank: int, seed: int) -> Float[Tensor, "1 parameters"]:
    """Initialise an adapter, float32: A uniform in +-1/sqrt(inputs), B zero, so that B A = 0 (Hu et al., section 4.1).

    Raises:
        ValueError: the U-Net has no attention, or the rank is larger than one of its layers.
    """
    layers = adapted_layers(unet)
    _require_rank([min(layer.in_features, layer.out_features) for layer in layers.values()], rank)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for layer in layers.values():
        bound = 1 / math.sqrt(layer.in_features)
        parts += [torch.empty(rank * layer.in_features).uniform_(-bound, bound, generator=generator)]
        parts += [torch.zeros(layer.out_features * rank)]
    return torch.cat(parts)[None].to(next(unet.parameters()).device)


@contextmanager
def adapted(unet: Any, parameters: Float[Tensor, "1 parameters"]) -> Iterator[None]:
    """Context manager that adds an adapter to the U-Net's layers; gradients flow to `parameters`.

    Raises:
        ValueError: the adapter belongs to another U-Net.
    """
    layers = adapted_layers(unet)
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


def _matrices(
    layers: dict[str, torch.nn.Linear], parameters: Float[Tensor, "1 parameters"]
) -> dict[str, tuple[Tensor, Tensor]]:
    """A [rank, inputs] and B [outputs, rank] of each layer, as views."""
    # sum over layers of rank * inputs (A) + outputs * rank (B) = rank * per_rank
    per_rank = sum(layer.in_features + layer.out_features for layer in layers.values())
    rank, rest = divmod(parameters.shape[1], per_rank) if per_rank else (0, 0)
    if rank == 0 or rest:
        raise ValueError(f"the adapter holds {parameters.shape[1]} numbers, which do not fit this base's U-Net")
    found, begin = {}, 0
    for name, layer in layers.items():
        middle = begin + rank * layer.in_features
        end = middle + layer.out_features * rank
        found[name] = parameters[0, begin:middle].view(rank, -1), parameters[0, middle:end].view(-1, rank)
        begin = end
    return found


def adapter_bytes(unet: Any, parameters: Float[Tensor, "1 parameters"]) -> bytes:
    """The content of `pytorch_lora_weights.safetensors`, as diffusers reads it; its scale is 1."""
    tensors = {}
    for name, (down, up) in _matrices(adapted_layers(unet), parameters.detach().cpu()).items():
        tensors[f"{_PREFIX}{name}{_DOWN}"] = down.contiguous()
        tensors[f"{_PREFIX}{name}{_UP}"] = up.contiguous()
    return save(tensors)


def read_adapter(unet: Any, content: bytes) -> Float[Tensor, "1 parameters"]:
    """The adapter that `adapter_bytes` wrote, on the U-Net's device.

    Raises:
        ValueError: the file belongs to another U-Net; names a layer.
    """
    tensors = load(content)
    parts = []
    for name, layer in adapted_layers(unet).items():
        down, up = (tensors.pop(f"{_PREFIX}{name}{end}", None) for end in (_DOWN, _UP))
        if down is None or up is None or (down.shape[1], up.shape[0]) != (layer.in_features, layer.out_features):
            raise ValueError(f"the adapter has nothing that fits {name}: it was learnt on another base")
        parts += [down.flatten(), up.flatten()]
    if tensors:
        raise ValueError(f"the adapter holds {next(iter(tensors))}, which this base lacks: it was learnt on another")
    return torch.cat(parts)[None].to(next(unet.parameters()).device)
