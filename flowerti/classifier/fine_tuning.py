"""Fine-tunes a copy of a whole network with a new head: flips and, optionally, RandAugment, mixup and CutMix.

A training is a deterministic function of its arguments (up to rounding, which depends on the thread count). This module
does not know where the images come from, which of them are synthetic, or what the classes are called.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from flowerti.artifacts.identity import seed_for
from flowerti.classifier.batch_loss import BatchLoss
from flowerti.classifier.batch_share import WHOLE_BATCH, BatchShare
from flowerti.classifier.batches import PLAIN, Draws, LabelledInputs, TrainingRun, Treatment, draw_batches, mix_batch
from flowerti.classifier.small_network import redrawn
from flowerti.classifier.training import Head, detached, new_head, steps_per_epoch, take_steps
from flowerti.features.backbones import Backbone
from flowerti.features.extraction import augment, preprocess


@dataclass(frozen=True)
class FineTuned:
    """A whole trained network: the backbone and its head."""

    backbone: Backbone
    head: Head
    batch_size: int
    """Batch size of inference."""

    def logits(self, images: UInt8[np.ndarray, "num height width 3"]) -> Float32[np.ndarray, "num classes"]:
        """Unnormalised log-probabilities of the classes."""
        return self._run(images, len(self.head.bias), lambda x: _logits(self.backbone, self.head, x))

    def features(self, images: UInt8[np.ndarray, "num height width 3"]) -> Float32[np.ndarray, "num dim"]:
        """The backbone's features, the input of the head."""
        return self._run(images, self.backbone.dim, self.backbone.module)

    def _run(
        self, images: UInt8[np.ndarray, "num height width 3"], width: int, network: Callable[[Tensor], Tensor]
    ) -> Float32[np.ndarray, "num {width}"]:
        batches = [images[i : i + self.batch_size] for i in range(0, len(images), self.batch_size)]
        with torch.inference_mode():
            rows = [network(preprocess(self.backbone, batch)).float().cpu().numpy() for batch in batches]
        return np.concatenate([np.zeros((0, width), np.float32), *rows])


def start_of(backbone: Backbone, mode: str, seed: int) -> Backbone:
    """Where a training of a whole network starts: at the backbone, or in mode "scratch" at random weights."""
    return redrawn(backbone, seed_for(seed, "", "scratch/start", 0)) if mode == "scratch" else backbone


def fine_tune(
    backbone: Backbone,
    train: LabelledInputs,
    run: TrainingRun,
    treatment: Treatment = PLAIN,
    *,
    on_epoch: Callable[[int, FineTuned], None] | None = None,
    share: BatchShare = WHOLE_BATCH,
) -> FineTuned:
    """Fine-tune a copy of the whole backbone with a new head, random horizontal flips and the config's augmentations.

    The network stays in eval mode: batch norm uses its pretrained running statistics, because those of few images are
    worse, and dropout is off. An image's gradient is thus independent of the rest of its batch, and the mean gradient
    over equal shares of a batch is that of the batch.

    Args:
        backbone: where to start; it is not changed.
        train: images uint8 [num, height, width, 3], or [num, views, height, width, 3] of which a draw takes a view.
        run: as in `fit_head`; and rand_augment, batch_mixing.
        treatment: as in `fit_head`; a mixed image has the weight of the image at its position.
        on_epoch: as in `fit_head`; the network that it receives is modified by later steps.
        share: this process's share of every batch; all processes get the same other arguments and end with the same
            network, which is that of one process up to rounding.

    Raises:
        ValueError: a batch cannot be cut into equal shares, or as `draw_batches` and `BatchLoss`.
    """
    if run.config.batch_size % share.size:
        raise ValueError(
            f"classifier.batch_size is {run.config.batch_size}: must be a multiple of {share.size} processes"
        )
    trained = replace(backbone, module=copy.deepcopy(backbone.module).eval().requires_grad_(True))
    head = new_head(train.num_classes, backbone.dim, backbone.device, None)
    batches = _batches_of(train, run, treatment, share, backbone.device)
    parameters = [head.weight, head.bias, *trained.module.parameters()]
    epoch_steps = steps_per_epoch(len(train), run.config.batch_size)
    for epoch in take_steps(lambda step: batches.mean_loss(trained, head, step), parameters, run, epoch_steps, share):
        if on_epoch is not None:
            on_epoch(epoch, FineTuned(trained, detached(head), run.config.batch_size))
    trained.module.zero_grad()
    trained.module.requires_grad_(False)
    return FineTuned(trained, detached(head), run.config.batch_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batches:
    """Builds the batch of each step from the draws, and computes its loss."""

    train: LabelledInputs
    """Images with an axis of views."""
    run: TrainingRun
    draws: Draws
    loss: BatchLoss
    share: BatchShare

    def mean_loss(self, backbone: Backbone, head: Head, step: int) -> Float[Tensor, ""]:
        """The loss of a network over this process's share of a step's batch."""
        inputs, targets, image_ids = self._of_step(backbone, step)
        return self.loss.of_targets(_logits(backbone, head, inputs), targets, image_ids)

    def _of_step(
        self, backbone: Backbone, step: int
    ) -> tuple[Float32[Tensor, "share 3 s s"], Tensor, Int64[Tensor, " share"]]:
        """Network inputs of this process's share of a step's batch, targets, and image ids."""
        mixing = self.run.config.batch_mixing
        places = torch.arange(self.run.config.batch_size)
        # mixing needs the neighbouring image, so build the whole batch first and take the share afterwards
        places = places if mixing != "none" else self.share.cut(places)
        image_ids = self.draws.images[step][places]
        inputs = preprocess(backbone, self._images(step, places))  # share h w 3 uint8 -> share 3 s s float32
        targets = self.loss.targets(image_ids)
        if mixing == "none":
            return inputs, targets, image_ids
        mixing_seed = seed_for(self.run.seed, "", "fine_tune/mix", step)
        inputs, targets = mix_batch(inputs, targets, self.train.num_classes, mixing, mixing_seed)
        return self.share.cut(inputs), self.share.cut(targets), self.share.cut(image_ids)

    def _images(self, step: int, places: Int64[Tensor, " share"]) -> UInt8[np.ndarray, "share height width 3"]:
        """The images at some positions of a step's batch, with the drawn views, flips and augmentations."""
        draws = self.draws
        image_ids, view_ids = draws.images[step][places].numpy(), draws.views[step][places].numpy()
        images = self.train.inputs[image_ids, view_ids]  # num views h w 3 -> share h w 3
        flipped = draws.flips[step][places].numpy() == 1
        images[flipped] = images[flipped, :, ::-1]
        if not self.run.config.rand_augment:
            return images
        seed = seed_for(self.run.seed, "", "fine_tune/augment", step)
        return augment(images, 1, seed, places.numpy())[:, 0]


def _batches_of(
    train: LabelledInputs, run: TrainingRun, treatment: Treatment, share: BatchShare, device: torch.device
) -> _Batches:
    if train.inputs.ndim == 4:
        train = replace(train, inputs=train.inputs[:, None])  # num h w 3 -> num 1 h w 3
    draws = draw_batches(train, run, treatment)
    loss = BatchLoss(train, run.config.label_smoothing, treatment, device)
    return _Batches(train=train, run=run, draws=draws, loss=loss, share=share)


def _logits(
    backbone: Backbone, head: Head, inputs: Float32[Tensor, "num 3 height width"]
) -> Float32[Tensor, "num classes"]:
    return nn.functional.linear(backbone.module(inputs), head.weight, head.bias)
