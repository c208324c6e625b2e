"""Trains a linear head on features for a given number of steps; also the training loop that `fine_tuning` shares.

Every option of the sweep's arms is an argument. A training is a deterministic function of its arguments (up to
rounding, which depends on the thread count). Whole networks are trained in `fine_tuning`. This module does not know
where the images come from, which of them are synthetic, what the classes are called, or how good a classifier is.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from flowerti.classifier.batch_loss import BatchLoss
from flowerti.classifier.batch_share import WHOLE_BATCH, BatchShare
from flowerti.classifier.batches import PLAIN, LabelledInputs, TrainingRun, Treatment, draw_batches


@dataclass(frozen=True)
class Head:
    """A linear layer on features; float32."""

    weight: Float32[Tensor, "classes dim"]
    bias: Float32[Tensor, " classes"]

    def logits(self, features: Float32[np.ndarray, "num dim"]) -> Float32[np.ndarray, "num classes"]:
        """Unnormalised log-probabilities of the classes."""
        with torch.inference_mode():
            inputs = torch.from_numpy(np.array(features)).to(self.weight.device)
            return nn.functional.linear(inputs, self.weight, self.bias).cpu().numpy()


def steps_per_epoch(num_train: int, batch_size: int) -> int:
    """Optimiser steps in a pass over the training images, rounded up."""
    return math.ceil(num_train / batch_size)


def fit_head(
    train: LabelledInputs,
    run: TrainingRun,
    treatment: Treatment = PLAIN,
    *,
    start: Head | None = None,
    on_epoch: Callable[[int, Head], None] | None = None,
) -> Head:
    """Train a linear head from zero initialisation with AdamW and a cosine decay of the learning rate to zero.

    Args:
        train: features [num, views, dim] of each training image in one or several views; a draw takes a random view.
        run: rate, decay, batch size and label smoothing; seed and steps.
        treatment: treatment of the images.
        start: initial head instead of zeros; it is not modified.
        on_epoch: called with (epoch from 1, head so far) after every pass over the images.

    Raises:
        ValueError: a feature is not finite, or as `draw_batches` and `BatchLoss`.
    """
    if not np.isfinite(train.inputs).all():
        raise ValueError("features hold NaN or infinite values: look for broken images or weights")
    num, num_views, dim = train.inputs.shape
    head = new_head(train.num_classes, dim, torch.device("cpu"), start)
    draws = draw_batches(train, run, treatment)
    loss = BatchLoss(train, run.config.label_smoothing, treatment, torch.device("cpu"))
    # flatten images and views, so that a step needs a single index operation
    rows = torch.from_numpy(np.array(train.inputs)).flatten(0, 1)  # num views dim -> num*views dim
    row_ids = draws.images * num_views + draws.views

    def step_loss(step: int) -> Float[Tensor, ""]:
        logits = nn.functional.linear(rows[row_ids[step]], head.weight, head.bias)
        return loss(logits, draws.images[step])

    for epoch in take_steps(step_loss, [head.weight, head.bias], run, steps_per_epoch(num, run.config.batch_size)):
        if on_epoch is not None:
            on_epoch(epoch, detached(head))
    return detached(head)


def new_head(num_classes: int, dim: int, device: torch.device, start: Head | None) -> Head:
    """A head that can be trained: zeros, or a copy of `start`."""
    if start is None:
        weight, bias = torch.zeros(num_classes, dim, device=device), torch.zeros(num_classes, device=device)
    else:
        weight, bias = (part.detach().clone().to(device) for part in (start.weight, start.bias))
    return Head(weight.requires_grad_(True), bias.requires_grad_(True))


def detached(head: Head) -> Head:
    """A detached copy, independent of further training."""
    return Head(head.weight.detach().clone(), head.bias.detach().clone())


def take_steps(
    step_loss: Callable[[int], Float[Tensor, ""]],
    parameters: list[Tensor],
    run: TrainingRun,
    epoch_steps: int,
    share: BatchShare = WHOLE_BATCH,
) -> Iterator[int]:
    """Run the optimiser steps, and yield the number of each completed epoch.

    Args:
        step_loss: mean loss over this process's share of a step's batch.
        parameters: the trainable parameters.
        run: learning rate, weight decay and number of steps.
        epoch_steps: steps in an epoch.
        share: this process's share of the batches; gradients are averaged over all shares, which are equally large.
    """
    # Loshchilov and Hutter 2019, algorithm 2: theta <- theta - lr_t (m / (sqrt(v) + 1e-8) + decay theta), with the
    # bias-corrected running means m of the gradient (0.9) and v of its square (0.999)
    optimizer = torch.optim.AdamW(parameters, weight_decay=run.config.weight_decay, fused=True)
    for step in range(run.num_steps):
        # lr_t = lr (1 + cos(pi t / T)) / 2: from the peak at t = 0 towards zero at t = T
        optimizer.param_groups[0]["lr"] = run.config.learning_rate * (1 + math.cos(math.pi * step / run.num_steps)) / 2
        optimizer.zero_grad()
        step_loss(step).backward()
        share.average([parameter.grad for parameter in parameters if parameter.grad is not None])
        optimizer.step()
        if (step + 1) % epoch_steps == 0:
            yield (step + 1) // epoch_steps
