"""The loss over a batch: cross-entropy with label smoothing and, optionally, Balanced Softmax, weights, soft targets.

This module does not know how a batch is drawn, nor about networks or optimisers.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from flowerti.classifier.batches import LabelledInputs, Treatment


class BatchLoss:
    """Mean cross-entropy of a batch of training images, in nats."""

    def __init__(
        self, train: LabelledInputs, label_smoothing: float, treatment: Treatment, device: torch.device
    ) -> None:
        """Prepare the loss over batches of a training set, for logits on a device.

        Raises:
            ValueError: Balanced Softmax meets a class without an image, or a label is shared with no class.
        """
        weights, smoothing = treatment.weights, treatment.smoothing
        self._class_ids = torch.from_numpy(np.array(train.class_ids)).to(device)
        self._num_classes = train.num_classes
        self._label_smoothing = label_smoothing
        self._log_counts = _log_counts(train, treatment.num_counted).to(device) if treatment.balanced_softmax else None
        # w_i / mean(w): the size of the loss, and so the rate, does not depend on the weights' unit
        self._weights = None if weights is None else torch.from_numpy(weights / weights.mean()).to(device)
        self._smoothing = None if smoothing is None else torch.from_numpy(np.array(smoothing)).to(device)
        self._shared = _shared_targets(train, treatment, device)

    def __call__(self, logits: Float[Tensor, "batch classes"], image_ids: Int64[Tensor, " batch"]) -> Float[Tensor, ""]:
        """The loss of the images with these ids, in nats."""
        return self.of_targets(logits, self.targets(image_ids), image_ids)

    def targets(self, image_ids: Int64[Tensor, " batch"]) -> Int64[Tensor, " batch"] | Float[Tensor, "batch classes"]:
        """The classes of these images; where labels are shared or smoothed, distributions over the classes.

        Source: Szegedy et al. 2016, section 7, with a share of its own for each image.
        """
        image_ids = image_ids.to(self._class_ids.device)
        class_ids = self._class_ids[image_ids]
        if self._smoothing is None:
            return class_ids if self._shared is None else self._shared[image_ids]
        certain = (
            nn.functional.one_hot(class_ids, self._num_classes) if self._shared is None else self._shared[image_ids]
        )
        # q_i(k) = (1 - s_i) p_i(k) + s_i / K, where p_i(k) = [k = y_i] unless the label is shared
        spread = self._smoothing[image_ids][:, None]
        return (1 - spread) * certain + spread / self._num_classes

    def of_targets(
        self,
        logits: Float[Tensor, "batch classes"],
        targets: Int64[Tensor, " batch"] | Float[Tensor, "batch classes"],
        image_ids: Int64[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """The loss towards other targets: class ids, or a distribution over the classes for each image."""
        image_ids = image_ids.to(logits.device)
        if self._log_counts is not None:
            # Ren et al. 2020, eq. 4: p(k) = n_k exp(z_k) / sum_j n_j exp(z_j) = softmax(z + log n)_k
            logits = logits + self._log_counts
        # loss_i = -sum_k ((1 - e) q_i(k) + e / K) log p_i(k), with the label smoothing e
        losses = nn.functional.cross_entropy(logits, targets, label_smoothing=self._label_smoothing, reduction="none")
        return (losses if self._weights is None else losses * self._weights[image_ids]).mean()


def _shared_targets(
    train: LabelledInputs, treatment: Treatment, device: torch.device
) -> Float32[Tensor, "num classes"] | None:
    """Targets of all images where some are shared by two classes."""
    share, others = treatment.own_share, treatment.other_ids
    if share is None or others is None:
        return None
    if others.min() < 0 or others.max() >= train.num_classes:
        raise ValueError(f"other_ids must lie in [0, {train.num_classes}), but span {others.min()} to {others.max()}")
    targets, rows = np.zeros((len(train), train.num_classes), np.float32), np.arange(len(train))
    # p_i = l_i e_(y_i) + (1 - l_i) e_(o_i), with the share l of the image's class y and the other class o
    np.add.at(targets, (rows, train.class_ids), share)
    np.add.at(targets, (rows, others), 1 - share)
    return torch.from_numpy(targets).to(device)


def _log_counts(train: LabelledInputs, num_counted: int | None) -> Float32[Tensor, " classes"]:
    counts = np.bincount(train.class_ids[:num_counted], minlength=train.num_classes)
    if counts.min() == 0:
        raise ValueError(f"class {counts.argmin()} has no training image: Balanced Softmax needs one of each class")
    return torch.from_numpy(np.log(counts).astype(np.float32))
