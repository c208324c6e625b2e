"""Train a copy of a whole network under a new head: flips, RandAugment, mixup and cutmix as asked for.

A training depends on nothing but its arguments (and the thread count, in the last digits). This module does not know
where the pictures come from, which of them are synthetic, or what the classes are called.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from flowerti.artifacts import seed_for
from flowerti.classifier import Head, detached, new_head, steps_per_epoch, take_steps
from flowerti.config import ClassifierConfig
from flowerti.features import Backbone, augment, preprocess
from flowerti.training_batches import BatchLoss, check_training_set, draw, mix_batch, replace_draws


@dataclass(frozen=True)
class FineTuned:
    """A whole trained network: the backbone and its head."""

    backbone: Backbone
    head: Head
    batch_size: int
    """Pictures that run at once."""

    def logits(self, pictures: UInt8[np.ndarray, "num height width 3"]) -> Float32[np.ndarray, "num classes"]:
        """Unnormalised log-probabilities of the classes."""
        return self._run(pictures, len(self.head.bias), lambda x: _logits(self.backbone, self.head, x))

    def features(self, pictures: UInt8[np.ndarray, "num height width 3"]) -> Float32[np.ndarray, "num dim"]:
        """What the head sees."""
        return self._run(pictures, self.backbone.dim, self.backbone.module)

    def _run(
        self, pictures: UInt8[np.ndarray, "num height width 3"], width: int, network: Callable[[Tensor], Tensor]
    ) -> Float32[np.ndarray, "num {width}"]:
        batches = [pictures[i : i + self.batch_size] for i in range(0, len(pictures), self.batch_size)]
        with torch.inference_mode():
            rows = [network(preprocess(self.backbone, batch)).float().cpu().numpy() for batch in batches]
        return np.concatenate([np.zeros((0, width), np.float32), *rows])


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
    num_drawn: int | None = None,
    replace_probability: float = 0.0,
    on_epoch: Callable[[int, FineTuned], None] | None = None,
    epoch_steps: int | None = None,
) -> FineTuned:
    """Train a copy of the whole backbone under a new head, with random horizontal flips and what the config adds.

    The network stays in eval mode: batch norm keeps the statistics of its weights, because those of a few pictures are
    worse, and dropout is off.

    Args:
        backbone: where to start; it is not changed.
        pictures: training pictures; with an axis of views behind the first one, a draw takes a random view.
        class_ids: as in `fit_head`.
        num_classes: as in `fit_head`.
        config: as in `fit_head`; and rand_augment, batch_mixing.
        seed: as in `fit_head`.
        num_steps: as in `fit_head`.
        balanced: as in `fit_head`.
        balanced_softmax: as in `fit_head`.
        weights: as in `fit_head`; of a mixed pair the weight of the picture whose place it is.
        num_drawn: as in `fit_head`.
        replace_probability: as in `fit_head`.
        on_epoch: as in `fit_head`; the network that it is given goes on changing afterwards.
        epoch_steps: as in `fit_head`.

    Raises:
        ValueError: as `fit_head`.
    """
    check_training_set(len(pictures), class_ids, num_classes, weights)
    views = pictures[:, None] if pictures.ndim == 4 else pictures
    trained = replace(backbone, module=copy.deepcopy(backbone.module).eval().requires_grad_(True))
    head = new_head(num_classes, backbone.dim, backbone.device, None)
    draws = draw(class_ids[:num_drawn], config.batch_size, num_steps, views.shape[1], balanced, seed)
    drawn = replace_draws(draws.pictures, class_ids, num_drawn, replace_probability, seed)
    loss = BatchLoss(class_ids, num_classes, config.label_smoothing, balanced_softmax, weights, backbone.device)

    def step_loss(step: int) -> Float[Tensor, ""]:
        batch = views[drawn[step].numpy(), draws.views[step].numpy()]
        flipped = draws.flips[step].numpy() == 1
        batch[flipped] = batch[flipped, :, ::-1]
        if config.rand_augment:
            batch = augment(batch, 1, seed_for(seed, "", "fine_tune/augment", step))[:, 0]
        inputs, targets = preprocess(trained, batch), loss.targets(drawn[step])
        if config.batch_mixing != "none":
            mixing_seed = seed_for(seed, "", "fine_tune/mix", step)
            inputs, targets = mix_batch(inputs, targets, num_classes, config.batch_mixing, mixing_seed)
        return loss.of_targets(_logits(trained, head, inputs), targets, drawn[step])

    parameters = [head.weight, head.bias, *trained.module.parameters()]
    epoch_steps = epoch_steps or steps_per_epoch(len(pictures), config.batch_size)
    for epoch in take_steps(step_loss, parameters, config, num_steps, epoch_steps):
        if on_epoch is not None:
            on_epoch(epoch, FineTuned(trained, detached(head), config.batch_size))
    trained.module.zero_grad()
    trained.module.requires_grad_(False)
    return FineTuned(trained, detached(head), config.batch_size)


def _logits(
    backbone: Backbone, head: Head, inputs: Float32[Tensor, "num 3 height width"]
) -> Float32[Tensor, "num classes"]:
    return nn.functional.linear(backbone.module(inputs), head.weight, head.bias)
