"""Settings of the image classifier, and of which classes count as weak.

This module knows nothing about torch, Ray or how a stage works.
"""

from dataclasses import dataclass
from typing import Literal

from flowerti.config.checks import check_kinds, require

SelectionRule = Literal["lowest_f1", "fewest_images", "blend", "fixed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierConfig:
    """The image classifier and how it is trained."""

    backbone: str = "efficientnet_lite0"
    """efficientnet_lite0 (weights from a package) or the name of a torchvision classification model."""
    weights: str = ""
    """Local weights file of the backbone; empty for the package's or torchvision's own ImageNet weights."""
    input_size_px: int = 128
    """Side of the square that the backbone sees, in pixels."""
    mode: Literal["head", "full", "scratch"] = "head"
    """Train a linear head on the frozen backbone, fine-tune all of it, or train a small network from random weights."""
    num_epochs: int = 5
    """Passes over the real training images; fixes the number of optimiser steps for every arm of the sweep."""
    batch_size: int = 32
    """Images in an optimiser step."""
    learning_rate: float = 1e-3
    """Peak rate of AdamW; follows a cosine to zero."""
    weight_decay: float = 1e-4
    """Decay of AdamW."""
    label_smoothing: float = 0.0
    """Share of the target mass spread over all classes, in [0, 1)."""
    num_views: int = 4
    """Random views of each training image for the augmented arm of the sweep."""
    rand_augment: bool = False
    """Not for a head alone: random crops and RandAugment on every image."""
    batch_mixing: Literal["none", "mixup", "cutmix"] = "none"
    """Not for a head alone: mix each image and its target with another one of the batch."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, "classifier.")
        for name, is_off in (("rand_augment", not self.rand_augment), ("batch_mixing", self.batch_mixing == "none")):
            require(self.mode != "head" or is_off, f"classifier.{name}", "needs classifier.mode 'full' or 'scratch'")
        fits = self.mode != "scratch" or self.input_size_px >= 16
        require(fits, "classifier.input_size_px", "must be at least 16 with classifier.mode 'scratch'")
        for name in ("input_size_px", "num_epochs", "batch_size", "num_views"):
            require(getattr(self, name) >= 1, f"classifier.{name}", "must be at least 1")
        require(self.learning_rate > 0, "classifier.learning_rate", "must be positive")
        require(self.weight_decay >= 0, "classifier.weight_decay", "must not be negative")
        require(0 <= self.label_smoothing < 1, "classifier.label_smoothing", "must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionConfig:
    """Which classes count as weak."""

    rule: SelectionRule = "blend"
    """Lowest validation F1, fewest training images, the mean of both ranks, or the classes named below."""
    num_classes: int = 3
    """How many classes to select (ignored by the fixed rule)."""
    class_names: tuple[str, ...] = ()
    """The classes of the fixed rule."""

    def __post_init__(self) -> None:
        """Check that rule and names fit together."""
        check_kinds(self, "selection.")
        require(self.num_classes >= 1, "selection.num_classes", "must be at least 1")
        require(
            (self.rule == "fixed") == bool(self.class_names),
            "selection.class_names",
            "must be given with rule 'fixed', and only then",
        )
        require(
            len(set(self.class_names)) == len(self.class_names),
            "selection.class_names",
            "names a class twice",
        )
