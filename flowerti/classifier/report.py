"""Evaluates a classifier: scores of each class, the confusion matrix, and learning curves.

Scores are computed with torchmetrics, the curves by evaluating both splits after each epoch of a training. This
module does not know which classes count as weak, nor where its inputs come from.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, Num
from torch.nn.functional import cross_entropy

from flowerti.artifacts.records import ClassScore, EpochScore
from flowerti.classifier.batch_share import WHOLE_BATCH, BatchShare
from flowerti.classifier.batches import LabelledInputs, TrainingRun
from flowerti.classifier.fine_tuning import FineTuned, fine_tune, start_of
from flowerti.classifier.training import Head, fit_head, steps_per_epoch
from flowerti.config.experiment import ClassifierConfig
from flowerti.features.backbones import Backbone


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierScores:
    """Scores of predictions."""

    accuracy: float
    """In [0, 1]."""
    macro_f1: float
    """The plain mean of the F1 of all classes."""
    classes: list[ClassScore]
    """Precision, recall and F1 of each class, 0 where a quotient has no denominator."""
    confusion: list[list[int]]
    """Row: true class, column: predicted class."""


def score(
    class_names: tuple[str, ...], true_ids: Int64[np.ndarray, " num"], logits: Float32[np.ndarray, "rows columns"]
) -> ClassifierScores:
    """Score predictions, the class of the largest logit.

    Args:
        class_names: all classes, in the order of their ids.
        true_ids: true class of each image.
        logits: one row for each image, one column for each class.

    Raises:
        ValueError: there are no images, lengths differ, a class id is out of range, or logits are not finite.
    """
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_confusion_matrix,
        multiclass_f1_score,
        multiclass_precision,
        multiclass_recall,
    )

    num_classes = len(class_names)
    _check(num_classes, true_ids, logits)
    truth, predicted = torch.from_numpy(np.array(true_ids)), torch.from_numpy(logits.argmax(axis=1))
    # with the counts TP, FP and FN of a class: TP / (TP + FP), TP / (TP + FN), and 2 TP / (2 TP + FP + FN)
    precision, recall, f1 = (
        metric(predicted, truth, num_classes=num_classes, average="none").tolist()
        for metric in (multiclass_precision, multiclass_recall, multiclass_f1_score)
    )
    support = np.bincount(true_ids, minlength=num_classes)
    classes = [
        ClassScore(class_name=name, precision=precision[i], recall=recall[i], f1=f1[i], support=int(support[i]))
        for i, name in enumerate(class_names)
    ]
    return ClassifierScores(
        accuracy=float(multiclass_accuracy(predicted, truth, num_classes=num_classes, average="micro")),
        # torchmetrics' macro average excludes classes that are neither true nor predicted; here their F1 counts as 0
        macro_f1=float(np.mean(f1)),
        classes=classes,
        confusion=multiclass_confusion_matrix(predicted, truth, num_classes=num_classes).tolist(),
    )


def _check(num_classes: int, true_ids: Int64[np.ndarray, " num"], logits: Float32[np.ndarray, "rows columns"]) -> None:
    if len(true_ids) == 0 or logits.shape != (len(true_ids), num_classes):
        raise ValueError(f"logits have shape {logits.shape} for {len(true_ids)} images of {num_classes} classes")
    if true_ids.min() < 0 or true_ids.max() >= num_classes:
        raise ValueError(f"true_ids must lie in [0, {num_classes}), but span {true_ids.min()} to {true_ids.max()}")
    if not np.isfinite(logits).all():
        raise ValueError("logits hold NaN or infinite values: lower classifier.learning_rate")


def train_with_curves(
    train: LabelledInputs,
    validation: LabelledInputs,
    config: ClassifierConfig,
    seed: int,
    backbone: Backbone | None = None,
    share: BatchShare = WHOLE_BATCH,
) -> tuple[Head | FineTuned, list[EpochScore]]:
    """Train for config.num_epochs and evaluate both splits after each epoch.

    Args:
        train: features [num, views, dim] in mode "head", images [num, height, width, 3] in others.
        validation: as train; only the first view is evaluated.
        config: mode and training settings.
        seed: seed of all draws.
        backbone: the network in other modes than "head"; in mode "scratch" its weights are drawn anew.
        share: this process's share of every batch in these modes; only rank 0 evaluates the splits.

    Returns:
        The model after the last epoch, and (from the first process only) losses (cross-entropy without smoothing, in
        nats) and accuracies, both taken on all inputs after the epoch, so that the two splits can be compared.

    Raises:
        ValueError: another mode than "head" without a backbone; and as `fit_head` and `fine_tune`.
    """
    curves: list[EpochScore] = []

    def look(epoch: int, model: Head | FineTuned) -> None:
        curves.append(_epoch_score(epoch, model, train, validation))

    num_steps = config.num_epochs * steps_per_epoch(len(train), config.batch_size)
    run = TrainingRun(config=config, seed=seed, num_steps=num_steps)
    if config.mode == "head":
        return fit_head(train, run, on_epoch=look), curves
    if backbone is None:
        raise ValueError(f"classifier.mode is {config.mode!r}: give the backbone to start from")
    backbone = start_of(backbone, config.mode, seed)
    return fine_tune(backbone, train, run, on_epoch=look if share.rank == 0 else None, share=share), curves


def _epoch_score(epoch: int, model: Head | FineTuned, train: LabelledInputs, validation: LabelledInputs) -> EpochScore:
    train_loss, train_accuracy = _loss_and_accuracy(model, train)
    validation_loss, validation_accuracy = _loss_and_accuracy(model, validation)
    return EpochScore(
        epoch=epoch,
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        validation_loss=validation_loss,
        validation_accuracy=validation_accuracy,
    )


def _loss_and_accuracy(model: Head | FineTuned, images: LabelledInputs) -> tuple[float, float]:
    logits = logits_of(model, images.inputs)
    # mean of -log p(y), without label smoothing
    loss = cross_entropy(torch.from_numpy(logits), torch.from_numpy(np.array(images.class_ids)))
    return float(loss), float((logits.argmax(axis=1) == images.class_ids).mean())


def logits_of(model: Head | FineTuned, inputs: Num[np.ndarray, "num *shape"]) -> Float32[np.ndarray, "num classes"]:
    """Logits of features [num, views, dim], of which only the first view is used, or of images."""
    return model.logits(inputs[:, 0]) if isinstance(model, Head) else model.logits(inputs)
