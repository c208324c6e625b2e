"""Train a linear head on features for a given number of steps, and the loop that every training goes through.

Every option of the sweep's arms is an argument here. A training depends on nothing but its arguments (and the thread
count, in the last digits). Whole networks are trained in `fine_tuning`. This module does not know where the images
come from, which of them are synthetic, what the classes are called, or how good a classifier is.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from flowerti.classifier.batches import PLAIN, Treatment, plan_batches
from flowerti.config.experiment import ClassifierConfig
from flowerti.features.backbones import Backbone
from flowerti.features.extraction import preprocess
from flowerti.shares import WHOLE, Part


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
    features: Float32[np.ndarray, "num views dim"],
    class_ids: Int64[np.ndarray, " num"],
    num_classes: int,
    config: ClassifierConfig,
    seed: int,
    num_steps: int,
    treatment: Treatment = PLAIN,
    *,
    start: Head | None = None,
    on_epoch: Callable[[int, Head], None] | None = None,
) -> Head:
    """Train a linear head from zero with AdamW, whose rate falls from its peak to zero as a cosine.

    Args:
        features: features of each training image in one or several views; a draw takes a random view.
        class_ids: class of each image, in [0, num_classes).
        num_classes: number of classes.
        config: rate, decay, batch size and label smoothing.
        seed: seed of all draws.
        num_steps: optimiser steps, each on a full batch; 0 gives the head of zeros.
        treatment: what is done with the images.
        start: head to go on from, instead of zeros; it is not changed.
        on_epoch: called with (epoch from 1, head so far) after every pass over the images.

    Raises:
        ValueError: a feature is not finite, or as `plan_batches`.
    """
    if not np.isfinite(features).all():
        raise ValueError("features hold NaN or infinite values: look for broken images or weights")
    head = new_head(num_classes, features.shape[2], torch.device("cpu"), start)
    # One table of rows and one list of row numbers, so that a step costs a single index.
    num_views = features.shape[1]
    rows = torch.from_numpy(np.array(features)).flatten(0, 1)
    draws, loss = plan_batches(
        len(features), num_views, class_ids, num_classes, config, treatment, seed, num_steps, rows.device
    )
    row_ids = draws.images * num_views + draws.views

    def step_loss(step: int) -> Float[Tensor, ""]:
        logits = nn.functional.linear(rows[row_ids[step]], head.weight, head.bias)
        return loss(logits, draws.images[step])

    epoch_steps = steps_per_epoch(len(features), config.batch_size)
    for epoch in take_steps(step_loss, [head.weight, head.bias], config, num_steps, epoch_steps):
        if on_epoch is not None:
            on_epoch(epoch, detached(head))
    return detached(head)


def fit_head_end_to_end(
    backbone: Backbone,
    views: UInt8[np.ndarray, "num views height width 3"],
    class_ids: Int64[np.ndarray, " num"],
    num_classes: int,
    config: ClassifierConfig,
    seed: int,
    num_steps: int,
) -> Head:
    """Train a head as `fit_head` does, but run the frozen backbone on the images of every batch.

    The same head up to rounding, for many times the cost: it stands here to show that, and to be measured.

    Args:
        backbone: frozen network.
        views: the images behind the features of `fit_head`, view by view.
        class_ids: as in `fit_head`.
        num_classes: as in `fit_head`.
        config: as in `fit_head`.
        seed: as in `fit_head`.
        num_steps: as in `fit_head`.

    Raises:
        ValueError: as `fit_head`.
    """
    head = new_head(num_classes, backbone.dim, backbone.device, None)
    draws, loss = plan_batches(
        len(views), views.shape[1], class_ids, num_classes, config, PLAIN, seed, num_steps, backbone.device
    )

    def step_loss(step: int) -> Float[Tensor, ""]:
        batch = views[draws.images[step].numpy(), draws.views[step].numpy()]
        with torch.no_grad():
            features = backbone.module(preprocess(backbone, batch))
        return loss(nn.functional.linear(features, head.weight, head.bias), draws.images[step])

    for _ in take_steps(step_loss, [head.weight, head.bias], config, num_steps, num_steps):
        pass
    return detached(head)


def new_head(num_classes: int, dim: int, device: torch.device, start: Head | None) -> Head:
    """A head that can be trained: zeros, or a copy of `start`."""
    if start is None:
        weight, bias = torch.zeros(num_classes, dim, device=device), torch.zeros(num_classes, device=device)
    else:
        weight, bias = (part.detach().clone().to(device) for part in (start.weight, start.bias))
    return Head(weight.requires_grad_(True), bias.requires_grad_(True))


def detached(head: Head) -> Head:
    """A copy that does not go on changing."""
    return Head(head.weight.detach().clone(), head.bias.detach().clone())


def take_steps(
    step_loss: Callable[[int], Float[Tensor, ""]],
    parameters: list[Tensor],
    config: ClassifierConfig,
    num_steps: int,
    epoch_steps: int,
    part: Part = WHOLE,
) -> Iterator[int]:
    """Take the steps, and yield the number of each epoch when it is complete.

    Args:
        step_loss: mean loss over this process's part of a step's batch.
        parameters: what is trained.
        config: rate and decay.
        num_steps: optimiser steps.
        epoch_steps: steps in an epoch.
        part: this process's share of the batches; gradients are averaged over all parts, which must be equally large.
    """
    optimizer = torch.optim.AdamW(parameters, weight_decay=config.weight_decay, fused=True)
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 + math.cos(math.pi * step / num_steps)) / 2
        optimizer.zero_grad()
        step_loss(step).backward()
        part.average([parameter.grad for parameter in parameters if parameter.grad is not None])
        optimizer.step()
        if (step + 1) % epoch_steps == 0:
            yield (step + 1) // epoch_steps
