"""Train an image classifier for a given number of steps: a linear head on features, or a whole network.

Every option of the sweep's arms is an argument here. A training depends on nothing but its arguments (and the thread
count, in the last digits). This module does not know where the pictures come from, which of them are synthetic, what
the classes are called, or how good a classifier is; `classifier_report` does the last.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from flowerti.config import ClassifierConfig
from flowerti.features import Backbone, preprocess
from flowerti.training_batches import BatchLoss, check_training_set, draw


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


@dataclass(frozen=True)
class FineTuned:
    """A whole trained network: the backbone and its head."""

    backbone: Backbone
    head: Head
    batch_size: int
    """Pictures that `logits` runs at once."""

    def logits(self, pictures: UInt8[np.ndarray, "num height width 3"]) -> Float32[np.ndarray, "num classes"]:
        """Unnormalised log-probabilities of the classes."""
        batches = [pictures[i : i + self.batch_size] for i in range(0, len(pictures), self.batch_size)]
        with torch.inference_mode():
            rows = [_forward(self.backbone, self.head, batch).cpu().numpy() for batch in batches]
        return np.concatenate([np.zeros((0, len(self.head.bias)), np.float32), *rows])


def steps_per_epoch(num_train: int, batch_size: int) -> int:
    """Optimiser steps in a pass over the training pictures, rounded up."""
    return math.ceil(num_train / batch_size)


def fit_head(
    features: Float32[np.ndarray, "num views dim"],
    class_ids: Int64[np.ndarray, " num"],
    num_classes: int,
    config: ClassifierConfig,
    seed: int,
    num_steps: int,
    *,
    balanced: bool = False,
    balanced_softmax: bool = False,
    weights: Float32[np.ndarray, " num"] | None = None,
    on_epoch: Callable[[int, Head], None] | None = None,
    epoch_steps: int | None = None,
) -> Head:
    """Train a linear head from zero with AdamW, whose rate falls from its peak to zero as a cosine.

    Args:
        features: features of each training picture in one or several views; a draw takes a random view.
        class_ids: class of each picture, in [0, num_classes).
        num_classes: number of classes.
        config: rate, decay, batch size and label smoothing.
        seed: seed of all draws.
        num_steps: optimiser steps, each on a full batch; 0 gives the head of zeros.
        balanced: draw each class that has pictures equally often, with replacement, instead of going through all
            pictures in ever new orders.
        balanced_softmax: add the log of the class counts to the logits in training (Ren et al. 2020, eq. 4). Counts
            are of pictures, whatever their weights; together with `balanced` it corrects twice.
        weights: positive weight of each picture's loss; only their ratios matter.
        on_epoch: called with (epoch from 1, head so far) after every epoch_steps steps.
        epoch_steps: steps between two calls of on_epoch; by default a pass over the pictures.

    Raises:
        ValueError: lengths differ, there are no pictures, a class id is out of range, a feature is not finite, a
            weight is not positive, or Balanced Softmax meets a class without a picture.
    """
    check_training_set(len(features), class_ids, num_classes, weights)
    if not np.isfinite(features).all():
        raise ValueError("features hold NaN or infinite values: look for broken pictures or weights")
    head = _zero_head(num_classes, features.shape[2], torch.device("cpu"))
    # One table of rows and one list of row numbers, so that a step costs a single index.
    num_views = features.shape[1]
    rows = torch.from_numpy(np.array(features)).flatten(0, 1)
    draws = draw(class_ids, config.batch_size, num_steps, num_views, balanced, seed)
    row_ids = draws.pictures * num_views + draws.views
    loss = BatchLoss(class_ids, num_classes, config.label_smoothing, balanced_softmax, weights, rows.device)

    def step_loss(step: int) -> Float[Tensor, ""]:
        logits = nn.functional.linear(rows[row_ids[step]], head.weight, head.bias)
        return loss(logits, draws.pictures[step])

    epoch_steps = epoch_steps or steps_per_epoch(len(features), config.batch_size)
    for epoch in _train(step_loss, [head.weight, head.bias], config, num_steps, epoch_steps):
        if on_epoch is not None:
            on_epoch(epoch, _detached(head))
    return _detached(head)


def fine_tune(
    backbone: Backbone,
    pictures: UInt8[np.ndarray, "num *views height width 3"],
    class_ids: Int64[np.ndarray, " num"],
    num_classes: int,
    config: ClassifierConfig,
    seed: int,
    num_steps: int,
    *,
    balanced: bool = False,
    balanced_softmax: bool = False,
    weights: Float32[np.ndarray, " num"] | None = None,
    on_epoch: Callable[[int, FineTuned], None] | None = None,
    epoch_steps: int | None = None,
) -> FineTuned:
    """Train a copy of the whole backbone under a new head, with random horizontal flips.

    The network stays in eval mode: batch norm keeps the statistics of its weights, because those of a few pictures are
    worse, and dropout is off.

    Args:
        backbone: where to start; it is not changed.
        pictures: training pictures; with an axis of views behind the first one, a draw takes a random view.
        class_ids: as in `fit_head`.
        num_classes: as in `fit_head`.
        config: as in `fit_head`.
        seed: as in `fit_head`.
        num_steps: as in `fit_head`.
        balanced: as in `fit_head`.
        balanced_softmax: as in `fit_head`.
        weights: as in `fit_head`.
        on_epoch: as in `fit_head`; the network that it is given goes on changing afterwards.
        epoch_steps: as in `fit_head`.

    Raises:
        ValueError: as `fit_head`.
    """
    check_training_set(len(pictures), class_ids, num_classes, weights)
    views = pictures[:, None] if pictures.ndim == 4 else pictures
    trained = replace(backbone, module=copy.deepcopy(backbone.module).eval().requires_grad_(True))
    head = _zero_head(num_classes, backbone.dim, backbone.device)
    draws = draw(class_ids, config.batch_size, num_steps, views.shape[1], balanced, seed)
    loss = BatchLoss(class_ids, num_classes, config.label_smoothing, balanced_softmax, weights, backbone.device)

    def step_loss(step: int) -> Float[Tensor, ""]:
        batch = views[draws.pictures[step].numpy(), draws.views[step].numpy()]
        flipped = draws.flips[step].numpy() == 1
        batch[flipped] = batch[flipped, :, ::-1]
        return loss(_forward(trained, head, batch), draws.pictures[step])

    parameters = [head.weight, head.bias, *trained.module.parameters()]
    epoch_steps = epoch_steps or steps_per_epoch(len(pictures), config.batch_size)
    for epoch in _train(step_loss, parameters, config, num_steps, epoch_steps):
        if on_epoch is not None:
            on_epoch(epoch, FineTuned(trained, _detached(head), config.batch_size))
    trained.module.zero_grad()
    trained.module.requires_grad_(False)
    return FineTuned(trained, _detached(head), config.batch_size)


def _zero_head(num_classes: int, dim: int, device: torch.device) -> Head:
    weight, bias = torch.zeros(num_classes, dim, device=device), torch.zeros(num_classes, device=device)
    return Head(weight.requires_grad_(True), bias.requires_grad_(True))


def _detached(head: Head) -> Head:
    return Head(head.weight.detach().clone(), head.bias.detach().clone())


def _forward(
    backbone: Backbone, head: Head, pictures: UInt8[np.ndarray, "num height width 3"]
) -> Float32[Tensor, "num classes"]:
    return nn.functional.linear(backbone.module(preprocess(backbone, pictures)), head.weight, head.bias)


def _train(
    step_loss: Callable[[int], Float[Tensor, ""]],
    parameters: list[Tensor],
    config: ClassifierConfig,
    num_steps: int,
    epoch_steps: int,
) -> Iterator[int]:
    """Take the steps, and yield the number of each epoch when it is complete."""
    optimizer = torch.optim.AdamW(parameters, weight_decay=config.weight_decay, fused=True)
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 + math.cos(math.pi * step / num_steps)) / 2
        optimizer.zero_grad()
        step_loss(step).backward()
        optimizer.step()
        if (step + 1) % epoch_steps == 0:
            yield (step + 1) // epoch_steps
