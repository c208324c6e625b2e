"""The checkpoint of a long training, one safetensors file: weights, averages, the optimiser's moments, the batches.

A training resumed from it takes the same steps as an uninterrupted one. This module does not know about losses.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flowerti.classifier.batch_share import BatchShare
from pretraining.optimization import AveragedWeights

CHECKPOINT_EVERY_STEPS = 250
_OF_OPTIMIZER = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainState:
    """Everything that changes from step to step; changed in place."""

    weights: Sequence[nn.Parameter]
    """What is trained, in the order of every call."""
    averaged: AveragedWeights
    """Averages of the same weights."""
    optimizer: torch.optim.Optimizer
    """An AdamW of the same weights."""
    generator: torch.Generator
    """Generator of the batches."""


def keep_state(path: Path | None, step: int, state: PretrainState, part: BatchShare) -> None:
    """Write the checkpoint after every 250th step, in the first process; not where there is no file for it."""
    is_due = step % CHECKPOINT_EVERY_STEPS == CHECKPOINT_EVERY_STEPS - 1
    if path and part.rank == 0 and is_due:
        save_state(path, step + 1, state)


def save_state(path: Path, next_step: int, state: PretrainState) -> None:
    """Write the checkpoint, replacing the file atomically; `next_step` counts from 0."""
    tensors = {"next_step": torch.tensor(next_step), "generator": state.generator.get_state()}
    for i, (weight, average) in enumerate(zip(state.weights, state.averaged.averages, strict=True)):
        # a weight that has had no gradient has no state yet
        of_weight = state.optimizer.state.get(weight, {})
        tensors |= {f"{i}.weight": weight.detach(), f"{i}.average": average}
        tensors |= {f"{i}.{name}": of_weight[name] for name in _OF_OPTIMIZER if name in of_weight}
    temporary = path.with_name(f"{path.name}.part")
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, temporary)
    os.replace(temporary, path)


@torch.no_grad()
def load_state(path: Path, state: PretrainState) -> int:
    """Restore the state in place, and return the next step; 0 if there is no file.

    Raises:
        ValueError: the file is of other networks.
    """
    if not path.exists():
        return 0
    tensors = load_file(path)
    found = [tensors[name].shape for i in range(len(tensors)) if (name := f"{i}.weight") in tensors]
    if found != [weight.shape for weight in state.weights]:
        raise ValueError(f"{path} holds a training of other networks: give another work folder, or remove the file")
    for i, (weight, average) in enumerate(zip(state.weights, state.averaged.averages, strict=True)):
        weight.copy_(tensors[f"{i}.weight"])
        average.copy_(tensors[f"{i}.average"])
        of_weight = {name: tensors[f"{i}.{name}"] for name in _OF_OPTIMIZER if f"{i}.{name}" in tensors}
        if of_weight:
            state.optimizer.state[weight] = {name: _laid_out_as(weight, value) for name, value in of_weight.items()}
    state.generator.set_state(tensors["generator"])
    return int(tensors["next_step"])


def _laid_out_as(weight: Tensor, value: Tensor) -> Tensor:
    """Convert to the weight's memory format, which fused optimisers require."""
    return value if value.ndim == 0 else torch.empty_like(weight).copy_(value)
