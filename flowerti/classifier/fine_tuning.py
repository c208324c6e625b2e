"""Train a copy of a whole network under a new head: flips, RandAugment, mixup and cutmix as asked for.

A training depends on nothing but its arguments (and the thread count, in the last digits). This module does not know
where the images come from, which of them are synthetic, or what the classes are called.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from flowerti.artifacts.identity import seed_for
from flowerti.classifier.batches import PLAIN, BatchLoss, Draws, Treatment, mix_batch, plan_batches
from flowerti.classifier.training import Head, detached, new_head, steps_per_epoch, take_steps
from flowerti.config.experiment import ClassifierConfig
from flowerti.features.backbones import Backbone
from flowerti.features.extraction import augment, preprocess
from flowerti.shares import WHOLE, Part


@dataclass(frozen=True)
class FineTuned:
    """A whole trained network: the backbone and its head."""

    backbone: Backbone
    head: Head
    batch_size: int
    """Images that run at once."""

    def logits(self, images: UInt8[np.ndarray, "num height width 3"]) -> Float32[np.ndarray, "num classes"]:
        """Unnormalised log-probabilities of the classes."""
        return self._run(images, len(self.head.bias), lambda x: _logits(self.backbone, self.head, x))

    def features(self, images: UInt8[np.ndarray, "num height width 3"]) -> Float32[np.ndarray, "num dim"]:
        """What the head sees."""
        return self._run(images, self.backbone.dim, self.backbone.module)

    def _run(
        self, images: UInt8[np.ndarray, "num height width 3"], width: int, network: Callable[[Tensor], Tensor]
    ) -> Float32[np.ndarray, "num {width}"]:
        batches = [images[i : i + self.batch_size] for i in range(0, len(images), self.batch_size)]
        with torch.inference_mode():
            rows = [network(preprocess(self.backbone, batch)).float().cpu().numpy() for batch in batches]
        return np.concatenate([np.zeros((0, width), np.float32), *rows])


def fine_tune(
    backbone: Backbone,
    images: UInt8[np.ndarray, "num *views height width 3"],
    class_ids: Int64[np.ndarray, " num"],
    num_classes: int,
    config: ClassifierConfig,
    seed: int,
    num_steps: int,
    treatment: Treatment = PLAIN,
    *,
    on_epoch: Callable[[int, FineTuned], None] | None = None,
    part: Part = WHOLE,
) -> FineTuned:
    """Train a copy of the whole backbone under a new head, with random horizontal flips and what the config adds.

    The network stays in eval mode: batch norm keeps the statistics of its weights, because those of a few images are
    worse, and dropout is off. So an image's gradient does not depend on the others of its batch, and the mean over
    equally large parts of a batch is the batch's.

    Args:
        backbone: where to start; it is not changed.
        images: training images; with an axis of views behind the first one, a draw takes a random view.
        class_ids: as in `fit_head`.
        num_classes: as in `fit_head`.
        config: as in `fit_head`; and rand_augment, batch_mixing.
        seed: as in `fit_head`.
        num_steps: as in `fit_head`.
        treatment: as in `fit_head`; of a mixed pair the weight counts of the image whose place it is.
        on_epoch: as in `fit_head`; the network that it is given goes on changing afterwards.
        part: this process's share of every batch; all processes get the same other arguments and end with the same
            network, which is that of one process up to rounding.

    Raises:
        ValueError: a batch cannot be cut into equal parts, or as `fit_head`.
    """
    if config.batch_size % part.size:
        raise ValueError(f"classifier.batch_size is {config.batch_size}: must be a multiple of {part.size} processes")
    views = images[:, None] if images.ndim == 4 else images
    draws, loss = plan_batches(
        len(views), views.shape[1], class_ids, num_classes, config, treatment, seed, num_steps, backbone.device
    )
    trained = replace(backbone, module=copy.deepcopy(backbone.module).eval().requires_grad_(True))
    head = new_head(num_classes, backbone.dim, backbone.device, None)

    def step_loss(step: int) -> Float[Tensor, ""]:
        inputs, targets, image_ids = _batch(trained, views, draws, loss, num_classes, config, seed, step, part)
        return loss.of_targets(_logits(trained, head, inputs), targets, image_ids)

    parameters = [head.weight, head.bias, *trained.module.parameters()]
    epoch_steps = steps_per_epoch(len(images), config.batch_size)
    for epoch in take_steps(step_loss, parameters, config, num_steps, epoch_steps, part):
        if on_epoch is not None:
            on_epoch(epoch, FineTuned(trained, detached(head), config.batch_size))
    trained.module.zero_grad()
    trained.module.requires_grad_(False)
    return FineTuned(trained, detached(head), config.batch_size)


def _batch(
    backbone: Backbone,
    views: UInt8[np.ndarray, "num views height width 3"],
    draws: Draws,
    loss: BatchLoss,
    num_classes: int,
    config: ClassifierConfig,
    seed: int,
    step: int,
    part: Part,
) -> tuple[Float32[Tensor, "part 3 s s"], Tensor, Int64[Tensor, " part"]]:
    """What the network sees of a step's batch, the targets, and whose they are."""
    is_mixed = config.batch_mixing != "none"
    places = torch.arange(config.batch_size)
    # a mixed image needs its neighbour, so there the whole batch is made before it is cut
    places = places if is_mixed else part.cut(places)
    image_ids = draws.images[step][places]
    batch = views[image_ids.numpy(), draws.views[step][places].numpy()]
    flipped = draws.flips[step][places].numpy() == 1
    batch[flipped] = batch[flipped, :, ::-1]
    if config.rand_augment:
        batch = augment(batch, 1, seed_for(seed, "", "fine_tune/augment", step), places.numpy())[:, 0]
    inputs, targets = preprocess(backbone, batch), loss.targets(image_ids)
    if config.batch_mixing == "none":
        return inputs, targets, image_ids
    mixing_seed = seed_for(seed, "", "fine_tune/mix", step)
    inputs, targets = mix_batch(inputs, targets, num_classes, config.batch_mixing, mixing_seed)
    return part.cut(inputs), part.cut(targets), part.cut(image_ids)


def _logits(
    backbone: Backbone, head: Head, inputs: Float32[Tensor, "num 3 height width"]
) -> Float32[Tensor, "num classes"]:
    return nn.functional.linear(backbone.module(inputs), head.weight, head.bias)
