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
            ValueError: Balanced Softmax meets a class without an image.
        """
        weights, smoothing = treatment.weights, treatment.smoothing
        self._class_ids = torch.from_numpy(np.array(train.class_ids)).to(device)
        self._num_classes = train.num_classes
        self._label_smoothing = label_smoothing
        self._log_counts = _log_counts(train, treatment.num_counted).to(device) if treatment.balanced_softmax else None
        # w_i / mean(w): the size of the loss, and so the rate, does not depend on the weights' unit
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
        # q_i(k) = (1 - s_i) [k = y_i] + s_i / K
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
            # Ren et al. 2020, eq. 4: p(k) = n_k exp(z_k) / sum_j n_j exp(z_j) = softmax(z + log n)_k
            logits = logits + self._log_counts
        # loss_i = -sum_k ((1 - e) q_i(k) + e / K) log p_i(k), with the label smoothing e
        losses = nn.functional.cross_entropy(logits, targets, label_smoothing=self._label_smoothing, reduction="none")
        return (losses if self._weights is None else losses * self._weights[image_ids]).mean()


def _log_counts(train: LabelledInputs, num_counted: int | None) -> Float32[Tensor, " classes"]:
    counts = np.bincount(train.class_ids[:num_counted], minlength=train.num_classes)
    if counts.min() == 0:
        raise ValueError(f"class {counts.argmin()} has no training image: Balanced Softmax needs one of each class")
    return torch.from_numpy(np.log(counts).astype(np.float32))
