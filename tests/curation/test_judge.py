"""The judge of drawn images: planted temperatures and classes, and that no image is judged by a head that saw it."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from flowerti.classifier.batches import LabelledInputs
from flowerti.config.experiment import ClassifierConfig
from flowerti.curation.judge import balanced_nll, fit_judge, folds_of, temperature_of

CONFIG = ClassifierConfig(num_epochs=30, batch_size=16, learning_rate=0.03)


def clouds(counts: list[int], noise: float, seed: int = 0, num_views: int = 2) -> LabelledInputs:
    """Classes as clouds of features around the axes."""
    rng, ids = np.random.default_rng(seed), np.repeat(np.arange(len(counts)), counts)
    features = np.eye(len(counts), 8)[ids][:, None] + noise * rng.normal(size=(len(ids), num_views, 8))
    return LabelledInputs(inputs=features.astype(np.float32), class_ids=ids, num_classes=len(counts))


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_found(planted: float):
    rng = np.random.default_rng(1)
    logits = 4 * rng.normal(size=(20_000, 5))
    chosen = (softmax(logits / planted, axis=1).cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert temperature_of(logits, chosen) == pytest.approx(planted, rel=0.05)


def test_the_loss_counts_classes_equally():
    rng = np.random.default_rng(2)
    logits, ids = rng.normal(size=(30, 3)), np.array([0] * 20 + [1] * 9 + [2])
    weight = torch.from_numpy(1 / np.bincount(ids))
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits / 2.5), torch.from_numpy(ids), weight=weight, reduction="sum"
    )
    assert balanced_nll(logits, ids, 2.5) == pytest.approx(float(expected) / 3)
    assert balanced_nll(np.zeros((0, 3)), np.zeros(0, np.int64), 1.0) == 0.0


def test_folds_share_out_each_class_and_leave_a_single_image_alone():
    ids = np.array([0] * 10 + [1] * 2 + [2])
    folds = folds_of(ids, 5, 0)
    assert np.bincount(folds[ids == 0]).tolist() == [2] * 5
    assert len(set(folds[ids == 1])) == 2
    assert folds[ids == 2].tolist() == [-1]
    assert folds_of(ids, 5, 0).tolist() == folds.tolist() != folds_of(ids, 5, 1).tolist()


def test_features_without_a_class_in_them_are_judged_at_chance():
    """A judge that had seen what it is calibrated on would know them by heart."""
    train = clouds([30] * 4, noise=0.3)
    shuffled = LabelledInputs(
        inputs=train.inputs, class_ids=np.random.default_rng(3).permutation(train.class_ids), num_classes=4
    )
    record = fit_judge(shuffled, CONFIG, 5, 0, 0).record
    assert record.accuracy < 0.45
    assert record.temperature > 1
    assert record.nll_after < record.nll_before
    assert record.nll_after < np.log(4) + 0.05, "as good as one that knows nothing, and no worse"


def test_classes_are_told_apart_and_views_are_averaged():
    train = clouds([20, 20, 20, 3], noise=0.15)
    judge = fit_judge(train, CONFIG, 5, 7, 2)
    assert judge.record.accuracy > 0.9
    assert judge.record.draw == 2
    found = clouds([5] * 4, noise=0.15, seed=9)
    probabilities = judge.probabilities(found.inputs)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == found.class_ids).all(), "the rare class too"
    single = [judge.probabilities(found.inputs[:, [view]]) for view in (0, 1)]
    np.testing.assert_allclose(probabilities, np.mean(single, axis=0))
    by_hand = softmax(judge.head.logits(found.inputs[:, 0]).astype(float) / judge.temperature, axis=1)
    np.testing.assert_allclose(single[0], by_hand)


def test_a_judge_depends_on_its_seed_and_settings_of_a_head_alone():
    train = clouds([6, 6], noise=0.5)
    full = ClassifierConfig(mode="full", num_epochs=30, batch_size=16, learning_rate=0.03, rand_augment=True)
    same = [fit_judge(train, config, 2, 0, 0) for config in (CONFIG, full)]
    assert torch.equal(same[0].head.weight, same[1].head.weight)
    assert not torch.equal(same[0].head.weight, fit_judge(train, CONFIG, 2, 1, 0).head.weight)


def test_without_two_images_of_any_class_nothing_is_calibrated():
    judge = fit_judge(clouds([1, 1], noise=0.1), CONFIG, 5, 0, 0)
    assert (judge.temperature, judge.record.accuracy) == (1.0, 0.0)
