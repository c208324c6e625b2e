"""Scores against hand-counted ones, and curves against losses worked out by SciPy."""

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from flowerti.classifier.batches import LabelledInputs, TrainingRun
from flowerti.classifier.fine_tuning import FineTuned
from flowerti.classifier.report import score, train_with_curves
from flowerti.classifier.training import Head, fit_head
from flowerti.config.experiment import ClassifierConfig
from flowerti.features.backbones import Backbone

NAMES = ("aster", "bluebell", "canna", "dahlia")


def logits_for(predicted: list[int]) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[predicted]


def test_scores_are_those_counted_by_hand() -> None:
    """Canna is true but never predicted; dahlia is neither."""
    true_ids = np.array([0, 0, 0, 1, 1, 2])
    found = score(NAMES, true_ids, logits_for([0, 0, 1, 1, 0, 0]))
    assert found.confusion == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert found.accuracy == pytest.approx(3 / 6)
    assert [c.class_name for c in found.classes] == list(NAMES)
    assert [c.support for c in found.classes] == [3, 2, 1, 0]
    assert [c.precision for c in found.classes] == pytest.approx([2 / 4, 1 / 2, 0, 0])
    assert [c.recall for c in found.classes] == pytest.approx([2 / 3, 1 / 2, 0, 0])
    assert [c.f1 for c in found.classes] == pytest.approx([4 / 7, 1 / 2, 0, 0])
    assert found.macro_f1 == pytest.approx((4 / 7 + 1 / 2) / 4)


def test_scores_follow_from_random_confusions() -> None:
    rng = np.random.default_rng(0)
    true_ids, logits = rng.integers(0, 4, 200), rng.normal(size=(200, 4)).astype(np.float32)
    found = score(NAMES, true_ids, logits)
    counts = np.zeros((4, 4), int)
    for true_id, row in zip(true_ids, logits, strict=True):
        counts[true_id, row.tolist().index(max(row.tolist()))] += 1
    f1 = 2 * np.diag(counts) / (counts.sum(axis=0) + counts.sum(axis=1))
    assert found.confusion == counts.tolist()
    assert found.accuracy == pytest.approx(np.trace(counts) / 200)
    assert [c.f1 for c in found.classes] == pytest.approx(f1)
    assert found.macro_f1 == pytest.approx(f1.mean())


@pytest.mark.parametrize(
    ("true_ids", "logits", "message"),
    [
        ([], np.zeros((0, 4)), "for 0 images"),
        ([0, 1], np.zeros((3, 4)), r"shape \(3, 4\) for 2 images of 4 classes"),
        ([0, 1], np.zeros((2, 3)), r"shape \(2, 3\) for 2 images of 4 classes"),
        ([0, 4], np.zeros((2, 4)), "span 0 to 4"),
        ([0, 1], np.full((2, 4), np.nan), r"lower classifier\.learning_rate"),
    ],
)
def test_misfits_are_refused(true_ids: list[int], logits: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(NAMES, np.array(true_ids, np.int64), logits.astype(np.float32))


def data(num: int, seed: int, num_views: int) -> LabelledInputs:
    rng = np.random.default_rng(seed)
    class_ids = rng.integers(0, 4, num)
    features = np.eye(4)[class_ids][:, None] + rng.normal(scale=0.7, size=(num, num_views, 4))
    return LabelledInputs(inputs=features.astype(np.float32), class_ids=class_ids, num_classes=4)


def loss_by_hand(logits: np.ndarray, class_ids: np.ndarray) -> float:
    return float(-special.log_softmax(logits.astype(float), axis=1)[np.arange(len(class_ids)), class_ids].mean())


def test_curves_are_losses_and_accuracies_after_each_epoch() -> None:
    train, validation = data(50, 0, 2), data(30, 1, 1)
    config = ClassifierConfig(num_epochs=4, batch_size=16, learning_rate=0.05, label_smoothing=0.1)
    model, curves = train_with_curves(train, validation, config, 3)
    assert isinstance(model, Head)
    assert [point.epoch for point in curves] == [1, 2, 3, 4]
    assert torch.equal(model.weight, fit_head(train, TrainingRun(config=config, seed=3, num_steps=16)).weight)
    weight, bias = model.weight.numpy(), model.bias.numpy()
    train_logits, validation_logits = (x.inputs[:, 0] @ weight.T + bias for x in (train, validation))
    last = curves[-1]
    assert last.train_loss == pytest.approx(loss_by_hand(train_logits, train.class_ids), rel=1e-4)
    assert last.validation_loss == pytest.approx(loss_by_hand(validation_logits, validation.class_ids), rel=1e-4)
    assert last.train_accuracy == pytest.approx((train_logits.argmax(axis=1) == train.class_ids).mean())
    assert last.validation_accuracy == pytest.approx((validation_logits.argmax(axis=1) == validation.class_ids).mean())
    assert curves[0].train_loss > last.train_loss


class Means(nn.Module):
    """Mean of each channel, scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3)) * self.scale


@pytest.fixture
def means() -> Backbone:
    return Backbone("means", Means(), 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "abc", 8)


def coloured_images(num: int) -> LabelledInputs:
    class_ids = np.arange(num) % 3
    images = np.random.default_rng(num).integers(0, 120, (num, 8, 8, 3), dtype=np.uint8)
    images[np.arange(num), :, :, class_ids] += 120
    return LabelledInputs(inputs=images, class_ids=class_ids, num_classes=3)


def test_whole_networks_are_trained_in_mode_full(means: Backbone) -> None:
    train, validation = coloured_images(30), coloured_images(12)
    config = ClassifierConfig(mode="full", num_epochs=20, batch_size=8, learning_rate=0.05)
    model, curves = train_with_curves(train, validation, config, 0, means)
    assert isinstance(model, FineTuned)
    assert len(curves) == 20
    assert curves[-1].validation_accuracy == 1.0
    assert curves[-1].validation_loss == pytest.approx(
        loss_by_hand(model.logits(validation.inputs), validation.class_ids), rel=1e-4
    )
    with pytest.raises(ValueError, match=r"classifier\.mode is 'full'"):
        train_with_curves(train, validation, config, 0)
