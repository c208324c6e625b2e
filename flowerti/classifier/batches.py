"""Samples the batches of a training, and mixes images within a batch.

The arms of the sweep differ in the treatment of images: class-balanced sampling, Balanced Softmax, replaced images,
weights, smoothed targets. All random choices of a training are drawn from one generator before its first step. This
module does not know about networks, losses or optimisers.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Num
from torch import Tensor

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import ClassifierConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledInputs:
    """Inputs of a classifier for training or evaluation, with the class of each image."""

    inputs: Num[np.ndarray, "num *shape"]
    """Features [num, views, dim], images [num, height, width, 3], or several views of images [num, views, height,
    width, 3]; images are uint8."""
    class_ids: Int64[np.ndarray, " any"]
    """One for each image, in [0, num_classes); `__post_init__` checks the length, with a readable error."""
    num_classes: int

    def __post_init__(self) -> None:
        """Check that it fits together.

        Raises:
            ValueError: there are no images, lengths differ, or a class id is out of range.
        """
        num, ids = len(self.inputs), self.class_ids
        if num == 0 or len(ids) != num:
            raise ValueError(f"class_ids has {len(ids)} entries for {num} images: give one for each of at least one")
        if ids.min() < 0 or ids.max() >= self.num_classes:
            raise ValueError(f"class_ids must lie in [0, {self.num_classes}), but span {ids.min()} to {ids.max()}")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.class_ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """Settings of one training, independent of its data."""

    config: ClassifierConfig
    seed: int
    """Seed of all draws."""
    num_steps: int
    """Optimiser steps, each on a full batch; with 0 the initial weights are returned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Treatment:
    """Optional treatment of the images in a training."""

    balanced: bool = False
    """Sample classes that have images with equal probability, with replacement, instead of passing through shuffled
    images."""
    balanced_softmax: bool = False
    """Add the log of the class counts to the logits in training (Ren et al. 2020, eq. 4). Counts are of images,
    whatever their weights; together with `balanced` it corrects twice."""
    num_counted: int | None = None
    """Count only the first `num_counted` images for Balanced Softmax: real ones, so that further images of a class do
    not weaken its correction. None for all."""
    weights: Float32[np.ndarray, " num"] | None = None
    """Positive weight of each image's loss; only their ratios matter."""
    smoothing: Float32[np.ndarray, " num"] | None = None
    """Share of each image's target that is spread evenly over all classes, in [0, 1), before the label smoothing that
    all images get; None for nothing."""
    own_share: Float32[np.ndarray, " num"] | None = None
    """Share of each image's target that is its class's, in [0, 1], before any smoothing; None for all of it."""
    other_ids: Int64[np.ndarray, " num"] | None = None
    """The class that has the rest; there with `own_share`."""
    num_drawn: int | None = None
    """Sample only from the first `num_drawn` images; the others are used as replacements. None for all."""
    replace_probability: float = 0.0
    """Probability that a drawn image is replaced by an image of its class beyond num_drawn."""
    first_share: float = 0.0
    """Share of the steps, from the first on, in which classes are drawn equally often: those that have images beyond
    num_drawn from these alone."""

    def check(self, num_images: int) -> None:
        """Reject weights, smoothing and labels that do not match a training set.

        Raises:
            ValueError: a length differs, a weight is not positive, a share to spread is not in [0, 1), or that of a
                label is not in [0, 1].
        """
        weights, smoothing = self.weights, self.smoothing
        if weights is not None and not (len(weights) == num_images and np.isfinite(weights).all() and min(weights) > 0):
            raise ValueError(f"weights must be {num_images} positive finite numbers, one for each training image")
        if smoothing is not None and not (len(smoothing) == num_images and ((smoothing >= 0) & (smoothing < 1)).all()):
            raise ValueError(f"smoothing must be {num_images} numbers in [0, 1), one for each training image")
        if self.own_share is None and self.other_ids is None:
            return
        share, others = (np.zeros(0) if array is None else array for array in (self.own_share, self.other_ids))
        if not (len(share) == len(others) == num_images and ((share >= 0) & (share <= 1)).all()):
            raise ValueError(
                f"own_share and other_ids must be {num_images} numbers in [0, 1] and class ids, one for each image"
            )


PLAIN = Treatment()


@dataclass(frozen=True)
class Draws:
    """All random choices of a training: image, view and flip (0 or 1) at each position of each batch."""

    images: Int64[Tensor, "steps batch"]
    views: Int64[Tensor, "steps batch"]
    flips: Int64[Tensor, "steps batch"]


def draw_batches(train: LabelledInputs, run: TrainingRun, treatment: Treatment) -> Draws:
    """Sample all batches of a training: shuffled passes over all images, or class-balanced with replacement.

    Args:
        train: training inputs with an axis of views behind the first one.
        run: batch size, seed and steps.
        treatment: treatment of the images.

    Raises:
        ValueError: as `Treatment.check`.
    """
    treatment.check(len(train))
    generator = torch.Generator().manual_seed(run.seed)
    shape = (run.num_steps, run.config.batch_size)
    order = _balanced_order if treatment.balanced else _shuffled_order
    images = order(train.class_ids[: treatment.num_drawn], math.prod(shape), generator).reshape(shape)
    views = torch.randint(train.inputs.shape[1], shape, generator=generator)
    flips = torch.randint(2, shape, generator=generator)
    probability = treatment.replace_probability
    images = replace_draws(images, train.class_ids, treatment.num_drawn, probability, run.seed)
    images = begin_balanced(images, train.class_ids, treatment.num_drawn, treatment.first_share, run.seed)
    return Draws(images=images, views=views, flips=flips)


def _shuffled_order(
    class_ids: Int64[np.ndarray, " num"], num_draws: int, generator: torch.Generator
) -> Int64[Tensor, " draws"]:
    """Concatenated permutations of all images; a batch may span two of them."""
    num_orders = math.ceil(num_draws / len(class_ids))
    orders = [torch.randperm(len(class_ids), generator=generator) for _ in range(num_orders)]
    return torch.cat([torch.zeros(0, dtype=torch.int64), *orders])[:num_draws]


def _balanced_order(
    class_ids: Int64[np.ndarray, " num"], num_draws: int, generator: torch.Generator
) -> Int64[Tensor, " draws"]:
    """Sample a class uniformly among those with images, then one of its images uniformly."""
    present, counts = np.unique(class_ids, return_counts=True)
    starts, sizes = torch.from_numpy(np.cumsum(counts) - counts), torch.from_numpy(counts)
    # c uniform over the classes that are there, then image number floor(u n_c) of class c, u ~ U[0, 1)
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
    """Replace each drawn image, with a given probability, by an image of its class beyond `num_drawn`.

    Classes without such images are unchanged. The original draws are not affected, so arms remain paired.

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
        # image number floor(u m) of the m replacements of the class, u ~ U[0, 1)
        replaced[chosen] = pool[(places[chosen] * len(pool)).long()]
    return replaced


def begin_balanced(
    images: Int64[Tensor, "steps batch"],
    class_ids: Int64[np.ndarray, " num"],
    num_drawn: int | None,
    share: float,
    seed: int,
) -> Int64[Tensor, "steps batch"]:
    """Draw the first steps anew, classes equally often: images beyond `num_drawn`, and others of classes without any.

    The draws of later steps are not affected, so arms remain paired in their second stage.

    Source: FFR (Qraitem et al. 2023, arXiv 2308.04553), for the two stages.

    Args:
        images: drawn images.
        class_ids: class of every image.
        num_drawn: images before those that the first stage prefers; None for all.
        share: of the steps, in [0, 1]; round(share * steps) are the first stage.
        seed: seed of the training.
    """
    num_steps = round(share * len(images))
    if num_steps == 0:
        return images
    preferred = np.arange(len(class_ids)) >= (len(class_ids) if num_drawn is None else num_drawn)
    rows = np.flatnonzero(preferred | ~np.isin(class_ids, class_ids[preferred]))
    generator = torch.Generator().manual_seed(seed_for(seed, "", "begin_balanced", 0))
    first = _balanced_order(class_ids[rows], num_steps * images.shape[1], generator)
    return torch.cat([torch.from_numpy(rows)[first].reshape(num_steps, -1), images[num_steps:]])


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

    # l ~ Beta(1, 1), one for the batch; x_(i-1) is the image before, y a distribution over the classes
    # mixup:  x_i <- l x_i + (1 - l) x_(i-1)          y_i <- l y_i + (1 - l) y_(i-1)
    # CutMix: x_i <- m * x_i + (1 - m) * x_(i-1)      the same, with l the share of pixels outside the box, mean(m)
    transform = (v2.MixUp if how == "mixup" else v2.CutMix)(num_classes=num_classes)
    # torchvision's transforms accept no generator: seed the global one, and restore its state afterwards
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return transform(inputs, targets)
