"""Train a linear head on features for a given number of steps, and the loop that every training goes through.

Every option of the sweep's arms is an argument here. A training depends on nothing but its arguments (and the thread
count, in the last digits). Whole networks are trained in `fine_tuning`. This module does not know where the pictures
come from, which of them are synthetic, what the classes are called, or how good a classifier is.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from flowerti.config import ClassifierConfig
from flowerti.features import Backbone, preprocess
from flowerti.training_batches import BatchLoss, check_training_set, draw, replace_draws


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
    num_drawn: int | None = None,
    replace_probability: float = 0.0,
    start: Head | None = None,
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
        num_drawn: draw from the first so many pictures only; the others enter by replacing.
        replace_probability: probability that a drawn picture gives way to a picture of its class beyond num_drawn.
        start: head to go on from, instead of zeros; it is not changed.
        on_epoch: called with (epoch from 1, head so far) after every epoch_steps steps.
        epoch_steps: steps between two calls of on_epoch; by default a pass over the pictures.

    Raises:
        ValueError: lengths differ, there are no pictures, a class id is out of range, a feature is not finite, a
            weight is not positive, or Balanced Softmax meets a class without a picture.
    """
    check_training_set(len(features), class_ids, num_classes, weights)
    if not np.isfinite(features).all():
        raise ValueError("features hold NaN or infinite values: look for broken pictures or weights")
    head = new_head(num_classes, features.shape[2], torch.device("cpu"), start)
    # One table of rows and one list of row numbers, so that a step costs a single index.
    num_views = features.shape[1]
    rows = torch.from_numpy(np.array(features)).flatten(0, 1)
    draws = draw(class_ids[:num_drawn], config.batch_size, num_steps, num_views, balanced, seed)
    pictures = replace_draws(draws.pictures, class_ids, num_drawn, replace_probability, seed)
    row_ids = pictures * num_views + draws.views
    loss = BatchLoss(class_ids, num_classes, config.label_smoothing, balanced_softmax, weights, rows.device)

    def step_loss(step: int) -> Float[Tensor, ""]:
        logits = nn.functional.linear(rows[row_ids[step]], head.weight, head.bias)
        return loss(logits, pictures[step])

    epoch_steps = epoch_steps or steps_per_epoch(len(features), config.batch_size)
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
    """Train a head as `fit_head` does, but run the frozen backbone on the pictures of every batch.

    The same head up to rounding, for many times the cost: it stands here to show that, and to be measured.

    Args:
        backbone: frozen network.
        views: the pictures behind the features of `fit_head`, view by view.
        class_ids: as in `fit_head`.
        num_classes: as in `fit_head`.
        config: as in `fit_head`.
        seed: as in `fit_head`.
        num_steps: as in `fit_head`.

    Raises:
        ValueError: as `fit_head`.
    """
    check_training_set(len(views), class_ids, num_classes, None)
    head = new_head(num_classes, backbone.dim, backbone.device, None)
    draws = draw(class_ids, config.batch_size, num_steps, views.shape[1], balanced=False, seed=seed)
    loss = BatchLoss(class_ids, num_classes, config.label_smoothing, False, None, backbone.device)

    def step_loss(step: int) -> Float[Tensor, ""]:
        batch = views[draws.pictures[step].numpy(), draws.views[step].numpy()]
        with torch.no_grad():
            features = backbone.module(preprocess(backbone, batch))
        return loss(nn.functional.linear(features, head.weight, head.bias), draws.pictures[step])

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
