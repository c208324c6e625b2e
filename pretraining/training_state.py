"""Where a long training stands, in one safetensors file: weights, their averages, the optimiser's moments, the batches.

A training that goes on from it takes the same steps as one that was never stopped. It knows nothing about losses.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flowerti.demo.descent import AveragedWeights

_OF_OPTIMIZER = ("step", "exp_avg", "exp_avg_sq")


def save_standing(
    path: Path,
    next_step: int,
    weights: Sequence[nn.Parameter],
    averaged: AveragedWeights,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Writes where the training stands, and swaps the file in whole.

    Args:
        path: the file.
        next_step: the step that comes next, from 0.
        weights: what is trained, in the order of every call.
        averaged: averages of the same weights.
        optimizer: an AdamW of the same weights.
        generator: where the batches come from.
    """
    tensors = {"next_step": torch.tensor(next_step), "generator": generator.get_state()}
    for i, (weight, average) in enumerate(zip(weights, averaged.averages, strict=True)):
        # a weight that has had no gradient has no state yet
        state = optimizer.state.get(weight, {})
        tensors |= {f"{i}.weight": weight.detach(), f"{i}.average": average}
        tensors |= {f"{i}.{name}": state[name] for name in _OF_OPTIMIZER if name in state}
    temporary = path.with_name(f"{path.name}.part")
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, temporary)
    os.replace(temporary, path)


@torch.no_grad()
def load_standing(
    path: Path,
    weights: Sequence[nn.Parameter],
    averaged: AveragedWeights,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> int:
    """Puts everything back in place, and returns the step that comes next; 0 where there is no file.

    Raises:
        ValueError: the file is of other networks.
    """
    if not path.exists():
        return 0
    tensors = load_file(path)
    found = [tensors[name].shape for i in range(len(tensors)) if (name := f"{i}.weight") in tensors]
    if found != [weight.shape for weight in weights]:
        raise ValueError(f"{path} holds a training of other networks: give another work folder, or remove the file")
    for i, (weight, average) in enumerate(zip(weights, averaged.averages, strict=True)):
        weight.copy_(tensors[f"{i}.weight"])
        average.copy_(tensors[f"{i}.average"])
        state = {name: tensors[f"{i}.{name}"] for name in _OF_OPTIMIZER if f"{i}.{name}" in tensors}
        if state:
            optimizer.state[weight] = {name: _laid_out_as(weight, value) for name, value in state.items()}
    generator.set_state(tensors["generator"])
    return int(tensors["next_step"])


def _laid_out_as(weight: Tensor, value: Tensor) -> Tensor:
    """The same numbers in the weight's memory format: fused steps want it."""
    return value if value.ndim == 0 else torch.empty_like(weight).copy_(value)
