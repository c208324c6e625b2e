"""What a step of training sees: which images a batch holds, how they are mixed, and the loss over them.

The arms of the sweep differ here only: class-balanced sampling, Balanced Softmax, replaced images, weights, softened
targets. All draws of a training are made before its first step from one generator. This module does not know about
networks or optimisers.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import ClassifierConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Treatment:
    """What a training does with its images besides going through them."""

    balanced: bool = False
    """Draw each class that has images equally often, with replacement, instead of going through all images in ever
    new orders."""
    balanced_softmax: bool = False
    """Add the log of the class counts to the logits in training (Ren et al. 2020, eq. 4). Counts are of images,
    whatever their weights; together with `balanced` it corrects twice."""
    weights: Float32[np.ndarray, " num"] | None = None
    """Positive weight of each image's loss; only their ratios matter."""
    smoothing: Float32[np.ndarray, " num"] | None = None
    """Share of each image's target that is spread evenly over all classes, in [0, 1), before the label smoothing that
    all images get; None for nothing."""
    num_drawn: int | None = None
    """Draw from the first so many images only; the others enter by replacing."""
    replace_probability: float = 0.0
    """Probability that a drawn image gives way to an image of its class beyond num_drawn."""


PLAIN = Treatment()


@dataclass(frozen=True)
class Draws:
    """Everything random in a training: image, view and flip (0 or 1) at each place of each batch."""

    images: Int64[Tensor, "steps batch"]
    views: Int64[Tensor, "steps batch"]
    flips: Int64[Tensor, "steps batch"]


def plan_batches(
    num_images: int,
    num_views: int,
    class_ids: Int64[np.ndarray, " any"],
    num_classes: int,
    config: ClassifierConfig,
    treatment: Treatment,
    seed: int,
    num_steps: int,
    device: torch.device,
) -> tuple[Draws, "BatchLoss"]:
    """All draws of a training and the loss over them.

    Args:
        num_images: training images.
        num_views: views of each.
        class_ids: class of each image, in [0, num_classes).
        num_classes: number of classes.
        config: batch size and label smoothing.
        treatment: what is done with the images.
        seed: seed of all draws.
        num_steps: batches.
        device: where logits will lie.

    Raises:
        ValueError: as `check_training_set`, or Balanced Softmax meets a class without an image.
    """
    check_training_set(num_images, class_ids, num_classes, treatment)
    num_drawn, probability = treatment.num_drawn, treatment.replace_probability
    draws = draw(class_ids[:num_drawn], config.batch_size, num_steps, num_views, treatment.balanced, seed)
    images = replace_draws(draws.images, class_ids, num_drawn, probability, seed)
    loss = BatchLoss(class_ids, num_classes, config.label_smoothing, treatment, device)
    return replace(draws, images=images), loss


def draw(
    class_ids: Int64[np.ndarray, " num"], batch_size: int, num_steps: int, num_views: int, balanced: bool, seed: int
) -> Draws:
    """Draw all batches of a training: new orders of all images, or classes equally often with replacement."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_steps, batch_size)
    order = (_balanced_order if balanced else _shuffled_order)(class_ids, num_steps * batch_size, generator)
    return Draws(
        images=order.reshape(shape),
        views=torch.randint(num_views, shape, generator=generator),
        flips=torch.randint(2, shape, generator=generator),
    )


def _shuffled_order(
    class_ids: Int64[np.ndarray, " num"], num_draws: int, generator: torch.Generator
) -> Int64[Tensor, " draws"]:
    """One new order of all images after another; a batch may reach from one into the next."""
    num_orders = math.ceil(num_draws / len(class_ids))
    orders = [torch.randperm(len(class_ids), generator=generator) for _ in range(num_orders)]
    return torch.cat([torch.zeros(0, dtype=torch.int64), *orders])[:num_draws]


def _balanced_order(
    class_ids: Int64[np.ndarray, " num"], num_draws: int, generator: torch.Generator
) -> Int64[Tensor, " draws"]:
    """A class first, each that has images equally likely, then one of its images."""
    present, counts = np.unique(class_ids, return_counts=True)
    starts, sizes = torch.from_numpy(np.cumsum(counts) - counts), torch.from_numpy(counts)
    classes = torch.randint(len(present), (num_draws,), generator=generator)
    places = (torch.rand(num_draws, generator=generator, dtype=torch.float64) * sizes[classes]).long()
    return torch.from_numpy(np.argsort(class_ids, kind="stable"))[starts[classes] + places]


def replace_draws(
    images: Int64[Tensor, "steps batch"],
    class_ids: Int64[np.ndarray, " num"],
    num_drawn: int | None,
    probability: float,
    seed: int,
) -> Int64[Tensor, "steps batch"]:
    """Replace each drawn image with a probability by an image of its class that was not drawn from.

    A class without such images keeps its own. The draws themselves stay as they are, so that arms stay paired.

    Source: Trabucco et al. 2023 (DA-Fusion), section 4.2, for the substitution.

    Args:
        images: drawn images, below num_drawn.
        class_ids: class of every image; those from num_drawn on are the replacements.
        num_drawn: images that were drawn from; None for all, which leaves nothing to replace with.
        probability: in [0, 1].
        seed: seed of the training.
    """
    if num_drawn is None or probability == 0:
        return images
    generator = torch.Generator().manual_seed(seed_for(seed, "", "replace", 0))
    is_replaced = torch.rand(images.shape, generator=generator) < probability
    places = torch.rand(images.shape, generator=generator, dtype=torch.float64)
    classes, replaced = torch.from_numpy(np.array(class_ids))[images], images.clone()
    for class_id in np.unique(class_ids[num_drawn:]):
        pool = torch.from_numpy(num_drawn + np.flatnonzero(class_ids[num_drawn:] == class_id))
        chosen = is_replaced & (classes == int(class_id))
        replaced[chosen] = pool[(places[chosen] * len(pool)).long()]
    return replaced


def mix_batch(
    inputs: Float[Tensor, "batch channels height width"],
    targets: Int64[Tensor, " batch"] | Float[Tensor, "batch classes"],
    num_classes: int,
    how: Literal["mixup", "cutmix"],
    seed: int,
) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch classes"]]:
    """Mix each image and its target with another one of the batch, with torchvision's own transforms.

    Source: Zhang et al. 2018 (mixup) and Yun et al. 2019 (CutMix), both with Beta(1, 1).
    """
    from torchvision.transforms import v2

    transform = (v2.MixUp if how == "mixup" else v2.CutMix)(num_classes=num_classes)
    # torchvision's transforms take no generator: they draw from the global one, which is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return transform(inputs, targets)


class BatchLoss:
    """Mean cross-entropy of a batch, with label smoothing, Balanced Softmax, weights and soft targets as asked for."""

    def __init__(
        self,
        class_ids: Int64[np.ndarray, " num"],
        num_classes: int,
        label_smoothing: float,
        treatment: Treatment,
        device: torch.device,
    ) -> None:
        weights, smoothing = treatment.weights, treatment.smoothing
        self._class_ids = torch.from_numpy(np.array(class_ids)).to(device)
        self._num_classes = num_classes
        self._label_smoothing = label_smoothing
        self._log_counts = _log_counts(class_ids, num_classes).to(device) if treatment.balanced_softmax else None
        self._weights = None if weights is None else torch.from_numpy(weights / weights.mean()).to(device)
        self._smoothing = None if smoothing is None else torch.from_numpy(np.array(smoothing)).to(device)

    def __call__(self, logits: Float[Tensor, "batch classes"], image_ids: Int64[Tensor, " batch"]) -> Float[Tensor, ""]:
        """The loss of the images with these ids, in nats."""
        return self.of_targets(logits, self.targets(image_ids), image_ids)

    def targets(self, image_ids: Int64[Tensor, " batch"]) -> Int64[Tensor, " batch"] | Float[Tensor, "batch classes"]:
        """The classes of these images; where single images are smoothed, distributions over the classes.

        Source: Szegedy et al. 2016, section 7, with a share of its own for each image.
        """
        image_ids = image_ids.to(self._class_ids.device)
        class_ids = self._class_ids[image_ids]
        if self._smoothing is None:
            return class_ids
        spread = self._smoothing[image_ids][:, None]
        return (1 - spread) * nn.functional.one_hot(class_ids, self._num_classes) + spread / self._num_classes

    def of_targets(
        self,
        logits: Float[Tensor, "batch classes"],
        targets: Int64[Tensor, " batch"] | Float[Tensor, "batch classes"],
        image_ids: Int64[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """The loss towards other targets: class ids, or a distribution over the classes for each image."""
        image_ids = image_ids.to(logits.device)
        if self._log_counts is not None:
            logits = logits + self._log_counts
        losses = nn.functional.cross_entropy(logits, targets, label_smoothing=self._label_smoothing, reduction="none")
        return (losses if self._weights is None else losses * self._weights[image_ids]).mean()


def _log_counts(class_ids: Int64[np.ndarray, " num"], num_classes: int) -> Float32[Tensor, " classes"]:
    counts = np.bincount(class_ids, minlength=num_classes)
    if counts.min() == 0:
        raise ValueError(f"class {counts.argmin()} has no training image: Balanced Softmax needs one of each class")
    return torch.from_numpy(np.log(counts).astype(np.float32))


def check_training_set(
    num_images: int,
    class_ids: Int64[np.ndarray, " any"],
    num_classes: int,
    treatment: Treatment,
) -> None:
    """Refuse a training set that does not fit together.

    Raises:
        ValueError: there are no images, lengths differ, a class id is out of range, a weight is not positive, or a
            share to spread is not in [0, 1).
    """
    if num_images == 0 or len(class_ids) != num_images:
        raise ValueError(f"class_ids has {len(class_ids)} entries for {num_images} training images: give one each")
    if class_ids.min() < 0 or class_ids.max() >= num_classes:
        raise ValueError(f"class_ids must lie in [0, {num_classes}), but span {class_ids.min()} to {class_ids.max()}")
    weights, smoothing = treatment.weights, treatment.smoothing
    if weights is not None and not (len(weights) == num_images and np.isfinite(weights).all() and min(weights) > 0):
        raise ValueError(f"weights must be {num_images} positive finite numbers, one for each training image")
    if smoothing is not None and not (len(smoothing) == num_images and ((smoothing >= 0) & (smoothing < 1)).all()):
        raise ValueError(f"smoothing must be {num_images} numbers in [0, 1), one for each training image")
