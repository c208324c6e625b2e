"""How good a classifier is: scores of each class, the confusion matrix, and learning curves.

Scores come from torchmetrics; the curves from training once while both splits are looked at after each epoch. This
module does not know which classes count as weak, nor where its inputs come from.
"""

import numpy as np
import torch
from jaxtyping import Float32, Int64, Num
from torch.nn.functional import cross_entropy

from flowerti.artifacts.records import ClassScore, EpochScore
from flowerti.classifier.fine_tuning import FineTuned, fine_tune
from flowerti.classifier.training import Head, fit_head, steps_per_epoch
from flowerti.config.experiment import ClassifierConfig
from flowerti.features.backbones import Backbone
from flowerti.shares import WHOLE, Part


def score(
    class_names: tuple[str, ...],
    true_ids: Int64[np.ndarray, " num"],
    logits: Float32[np.ndarray, "rows columns"],
) -> tuple[float, float, list[ClassScore], list[list[int]]]:
    """Score predictions, the class of the largest logit.

    Args:
        class_names: all classes, in the order of their ids.
        true_ids: true class of each image.
        logits: one row for each image, one column for each class.

    Returns:
        Accuracy in [0, 1]; macro-F1, the plain mean of the F1 of all classes; precision, recall and F1 of each class,
        0 where a quotient has no denominator; the confusion matrix, row: true class, column: predicted class.

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
    precision, recall, f1 = (
        metric(predicted, truth, num_classes=num_classes, average="none").tolist()
        for metric in (multiclass_precision, multiclass_recall, multiclass_f1_score)
    )
    support = np.bincount(true_ids, minlength=num_classes)
    classes = [
        ClassScore(class_name=name, precision=precision[i], recall=recall[i], f1=f1[i], support=int(support[i]))
        for i, name in enumerate(class_names)
    ]
    accuracy = multiclass_accuracy(predicted, truth, num_classes=num_classes, average="micro")
    confusion = multiclass_confusion_matrix(predicted, truth, num_classes=num_classes)
    # torchmetrics' own macro average leaves out classes that are neither true nor predicted; here they count as 0.
    return float(accuracy), float(np.mean(f1)), classes, confusion.tolist()


def _check(num_classes: int, true_ids: Int64[np.ndarray, " num"], logits: Float32[np.ndarray, "rows columns"]) -> None:
    if len(true_ids) == 0 or logits.shape != (len(true_ids), num_classes):
        raise ValueError(f"logits have shape {logits.shape} for {len(true_ids)} images of {num_classes} classes")
    if true_ids.min() < 0 or true_ids.max() >= num_classes:
        raise ValueError(f"true_ids must lie in [0, {num_classes}), but span {true_ids.min()} to {true_ids.max()}")
    if not np.isfinite(logits).all():
        raise ValueError("logits hold NaN or infinite values: lower classifier.learning_rate")


def train_with_curves(
    train: Num[np.ndarray, "num_train *shape"],
    train_ids: Int64[np.ndarray, " num_train"],
    validation: Num[np.ndarray, "num_validation *validation_shape"],
    validation_ids: Int64[np.ndarray, " num_validation"],
    num_classes: int,
    config: ClassifierConfig,
    seed: int,
    backbone: Backbone | None = None,
    part: Part = WHOLE,
) -> tuple[Head | FineTuned, list[EpochScore]]:
    """Train for config.num_epochs and look at both splits after each epoch.

    Args:
        train: features [num, views, dim] in mode "head", images [num, height, width, 3] in mode "full".
        train_ids: class of each training input.
        validation: as train; of several views the first counts.
        validation_ids: class of each validation input.
        num_classes: number of classes.
        config: mode and training settings.
        seed: seed of all draws.
        backbone: where to start in mode "full".
        part: this process's share of every batch in mode "full"; the first one looks at the splits for all.

    Returns:
        The model after the last epoch, and (from the first process only) losses (cross-entropy without smoothing, in
        nats) and accuracies, both taken on all inputs after the epoch, so that the two splits can be compared.

    Raises:
        ValueError: mode "full" without a backbone; and as `fit_head`.
    """
    curves: list[EpochScore] = []

    def look(epoch: int, model: Head | FineTuned) -> None:
        train_loss, train_accuracy = _loss_and_accuracy(model, train, train_ids)
        validation_loss, validation_accuracy = _loss_and_accuracy(model, validation, validation_ids)
        curves.append(
            EpochScore(
                epoch=epoch,
                train_loss=train_loss,
                train_accuracy=train_accuracy,
                validation_loss=validation_loss,
                validation_accuracy=validation_accuracy,
            )
        )

    num_steps = config.num_epochs * steps_per_epoch(len(train), config.batch_size)
    if config.mode == "head":
        return fit_head(train, train_ids, num_classes, config, seed, num_steps, on_epoch=look), curves
    if backbone is None:
        raise ValueError("classifier.mode is 'full': give the backbone to start from")
    on_epoch = look if part.rank == 0 else None
    model = fine_tune(backbone, train, train_ids, num_classes, config, seed, num_steps, on_epoch=on_epoch, part=part)
    return model, curves


def _loss_and_accuracy(
    model: Head | FineTuned, inputs: Num[np.ndarray, "num *shape"], class_ids: Int64[np.ndarray, " num"]
) -> tuple[float, float]:
    logits = model.logits(inputs[:, 0]) if isinstance(model, Head) else model.logits(inputs)
    loss = cross_entropy(torch.from_numpy(logits), torch.from_numpy(np.array(class_ids)))
    return float(loss), float((logits.argmax(axis=1) == class_ids).mean())
