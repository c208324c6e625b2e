"""Rivals in feature space: the shared covariance against its formula, and noise that leaves classes what they are."""

import dataclasses

import numpy as np
import pytest
from planted_sweep import CLASSIFIER, DIM, NUM_CLASSES, NUM_TRAIN, SWEEP, WEAK, World
from trial_arrays import TRAIN_IDS, data_of

from flowerti.config.experiment import SweepConfig
from flowerti.sweep import feature_rivals
from flowerti.sweep.feature_rivals import (
    NUM_VIEWS,
    bounds_of,
    gaussian_features,
    perturbed_features,
    shared_covariance,
)
from flowerti.sweep.mixing import Mixture, mix
from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial import run_trial
from flowerti.sweep.trial_data import TrialData
from flowerti.tables.arms import ARMS, Arm, replaced_on
from flowerti.tables.sources import SOURCES

RNG = np.random.default_rng(0)


def contrasts(features: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Of images x_0, ..., x_k of a class: (x_0 + ... + x_(k-1) - k x_k) / sqrt(k (k + 1)) for each k."""
    rows = []
    for class_id in sorted(set(ids.tolist())):
        x = features[ids == class_id]
        rows += [(x[:k].sum(axis=0) - k * x[k]) / np.sqrt(k * (k + 1)) for k in range(1, len(x))]
    return np.array(rows)


def ledoit_wolf_by_hand(rows: np.ndarray) -> tuple[float, np.ndarray]:
    """Ledoit and Wolf 2004, lemmas 3.2 to 3.5, written out matrix by matrix."""
    num, dim = rows.shape
    s = rows.T @ rows / num
    m = np.trace(s) / dim
    d2 = ((s - m * np.eye(dim)) ** 2).sum() / dim
    b2 = min(d2, sum(((np.outer(z, z) - s) ** 2).sum() / dim for z in rows) / num**2)
    return b2 / d2, b2 / d2 * m * np.eye(dim) + (1 - b2 / d2) * s


@pytest.mark.parametrize(("num_each", "dim"), [(3, 8), (40, 5), (2, 30)])
def test_the_covariance_is_that_of_ledoit_and_wolf(num_each: int, dim: int):
    ids = np.repeat(np.arange(4), num_each)
    features = (ids[:, None] + RNG.normal(size=(len(ids), dim)) * np.linspace(0.2, 2, dim)).astype(np.float32)
    found = shared_covariance(features, ids)
    rows = contrasts(features.astype(float), ids)
    share, whole = ledoit_wolf_by_hand(rows)
    assert found.share == pytest.approx(share, rel=1e-6)
    written_out = found.share * found.scale * np.eye(dim) + (1 - found.share) * found.root.T @ found.root
    np.testing.assert_allclose(written_out, whole, rtol=1e-6, atol=1e-9)


def test_many_images_show_the_planted_covariance_and_few_the_identity():
    planted = np.diag([4.0, 1.0, 0.25]) + 0.3
    ids = np.repeat(np.arange(5), 2000)
    features = RNG.multivariate_normal(np.zeros(3), planted, len(ids)) + 10 * ids[:, None]
    found = shared_covariance(features, ids)
    assert found.share < 0.01
    np.testing.assert_allclose(found.root.T @ found.root, planted, atol=0.1)
    few = shared_covariance(RNG.normal(size=(8, 100)), np.repeat(np.arange(4), 2))
    assert few.share > 0.7


def test_features_that_never_vary_are_drawn_as_they_are():
    features, ids = RNG.normal(size=(60, 4)), np.repeat(np.arange(3), 20)
    features[:, 2] = 7
    found = shared_covariance(features, ids)
    assert found.root.shape == (4, 4)
    spread = found._replace(share=0.0).draw(1000, np.random.default_rng(0)).std(axis=0)
    assert spread[2] < 1e-3 < 0.5 < spread[[0, 1, 3]].min()
    with pytest.raises(ValueError, match="the training images of each class are all the same"):
        shared_covariance(np.ones((6, 4)), np.repeat(np.arange(3), 2))


def test_drawn_vectors_have_the_covariance():
    features, ids = RNG.normal(size=(12, 4)) * [3, 1, 1, 0.3], np.repeat(np.arange(3), 4)
    found = shared_covariance(features, ids)
    drawn = found.draw(200_000, np.random.default_rng(1))
    expected = ledoit_wolf_by_hand(contrasts(features, ids))[1]
    np.testing.assert_allclose(np.cov(drawn.T, bias=True), expected, atol=0.03 * expected.max())
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.03)


def test_features_are_drawn_up_to_balance_around_the_mean_of_their_class():
    ids = np.repeat(np.arange(3), [500, 4, 1])
    features = (100.0 * ids[:, None, None] + RNG.normal(size=(505, 2, 6))).astype(np.float32)
    features[:, 1] += 1e4  # a second view, which neither means nor covariance know of
    found, drawn_ids = gaussian_features(features, ids, 3)
    assert np.bincount(drawn_ids).tolist() == [0, 496, 499]
    assert found.shape == (995, 1, 6)
    for class_id in (1, 2):
        own, real = found[drawn_ids == class_id, 0], features[ids == class_id, 0]
        np.testing.assert_allclose(own.mean(axis=0), real.mean(axis=0), atol=0.2)
        np.testing.assert_allclose(own.std(axis=0), 1, atol=0.15)
    again, other = gaussian_features(features, ids, 3)[0], gaussian_features(features, ids, 4)[0]
    assert np.array_equal(found, again) and not np.array_equal(found, other)
    assert len(gaussian_features(features[:500], ids[:500], 3)[1]) == 0
    with pytest.raises(ValueError, match="no class has two training images"):
        gaussian_features(features[[0, 500, 504]], ids[[0, 500, 504]], 3)


def features_of_two() -> tuple[np.ndarray, np.ndarray]:
    """Two classes far apart in the first of five features."""
    ids = np.repeat(np.arange(2), [20, 3])
    features = RNG.uniform(0, 1, size=(23, 2, 5)).astype(np.float32)
    features[:, :, 0] += 100 * ids[:, None]
    return features, ids


def test_perturbed_features_stay_in_their_range_and_class():
    features, ids = features_of_two()
    bounds = bounds_of(features)
    found = perturbed_features(features, ids, bounds, 5)
    assert found.shape == (23, NUM_VIEWS, 5)
    assert (found >= bounds.low - 1e-4).all() and (found <= bounds.high + 1e-4).all()
    assert ((found[:, :, 0] > 50) == (ids == 1)[:, None]).all()
    assert len(np.unique(found[0], axis=0)) == NUM_VIEWS
    assert np.array_equal(found, perturbed_features(features, ids, bounds, 5))
    assert not np.array_equal(found, perturbed_features(features, ids, bounds, 6))


def test_without_noise_a_view_lies_between_two_images_of_the_class_nearer_to_its_own(monkeypatch: pytest.MonkeyPatch):
    for name in ("CONTRAST", "BRIGHTNESS"):
        monkeypatch.setattr(feature_rivals, name, 0.0)
    features, ids = features_of_two()
    found = perturbed_features(features, ids, bounds_of(features), 5)
    for i, view in ((0, 0), (4, 1), (21, 0), (22, 1)):
        own, moved = features[i, view], found[i, view] - features[i, view]
        partners = features[ids == ids[i], view] - own
        # moved = (1 - l) (partner - own) with 1 - l in [0, 1/2] for one of the partners
        steps = [moved @ p / (p @ p) if (p @ p) > 0 else 0.0 for p in partners]
        fits = [
            np.abs(moved - step * p).max() < 1e-3 and -1e-3 <= step <= 0.501
            for step, p in zip(steps, partners, strict=True)
        ]
        assert any(fits)


@pytest.mark.parametrize(("contrast", "brightness"), [(0.3, 0.0), (0.0, 0.2)])
def test_noise_is_as_large_as_it_says(contrast: float, brightness: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feature_rivals, "CONTRAST", contrast)
    monkeypatch.setattr(feature_rivals, "BRIGHTNESS", brightness)
    # a class each: nothing to mix with
    features = np.tile(np.array([0.4, 0.6, 0.5], np.float32), (3000, 1, 1))
    features[0], features[1] = 0, 1
    found = perturbed_features(features, np.arange(3000), bounds_of(features), 0)[2:, 0]
    change = found - features[2:, 0]
    if contrast:
        np.testing.assert_allclose(change[:, 2], 0, atol=1e-6)
        np.testing.assert_allclose(change[:, 0], -change[:, 1], atol=1e-6)
        assert np.abs(change[:, 0]).max() == pytest.approx(0.1 * contrast, rel=0.02)
    else:
        assert np.abs(change).max(axis=0) == pytest.approx(np.full(3, brightness), rel=0.02)
        assert np.abs(np.corrcoef(change.T) - np.eye(3)).max() < 0.06, "each feature by itself"


def mixed(arm: Arm, data: TrialData, ratio: float = 0.0) -> Mixture:
    plan = TrialPlan(arm=arm, ratio=ratio, repetition=Repetition(index=0), split="validation")
    return mix(data, plan, SweepConfig(synthetic_smoothing=0.1), 5)


def noisy() -> TrialData:
    return data_of(train=RNG.normal(size=(12, 2, 3)).astype(np.float32))


def test_gaussians_stand_beside_the_real_images_and_may_give_way_like_them():
    data = noisy()
    found = mixed(ARMS["class_gaussians"], data)
    assert (found.num_real, found.num_drawn) == (12, 18)
    assert np.bincount(found.class_ids).tolist() == [6, 6, 6]
    assert np.array_equal(found.inputs[:12], data.train)
    assert found.smoothing is None and found.weights is None
    beside = mixed(replaced_on(ARMS["class_gaussians"], SOURCES["token"]), data, 0.5)
    assert np.array_equal(beside.inputs[:18], found.inputs)
    assert (beside.num_real, beside.num_drawn, len(beside.class_ids)) == (12, 18, 38)
    assert beside.smoothing is not None
    assert (beside.smoothing[:18] == 0).all() and (beside.smoothing[18:] > 0).all()


def test_noise_falls_on_drawn_images_as_on_real_ones():
    found = mixed(replaced_on(ARMS["feature_noise"], SOURCES["token"]), noisy(), 0.5)
    assert found.inputs.shape == (32, NUM_VIEWS, 3)
    assert (found.num_real, found.num_drawn) == (12, 12)
    assert all(len(np.unique(image, axis=0)) > 1 for image in found.inputs[:12])
    assert found.class_ids[:12].tolist() == TRAIN_IDS.tolist()


def test_images_have_no_frozen_features():
    photos = data_of(train=np.zeros((12, 4, 4, 3), np.uint8), augmented=None)
    for name in ("class_gaussians", "feature_noise"):
        with pytest.raises(ValueError, match=rf"arm {name}: changes frozen features, and these are images"):
            mixed(ARMS[name], photos)


def test_gaussians_find_more_of_the_weak_classes_at_as_many_steps():
    world = World(6)
    train, ids = world.split(NUM_TRAIN)
    evaluation, true_ids = world.split([60] * NUM_CLASSES)
    data = TrialData(
        train=train, train_ids=ids, augmented=None, evaluation=evaluation, synthetic={}, num_classes=NUM_CLASSES
    )
    assert train.shape[2] == DIM
    recalls, steps = {}, set()
    for name in ("real", "class_gaussians", "feature_noise", "balanced_feature_noise"):
        plan = TrialPlan(arm=ARMS[name], ratio=0.0, repetition=Repetition(index=0), split="validation")
        trial = run_trial(data, plan, dataclasses.replace(CLASSIFIER, num_epochs=10), 0, None, SWEEP)
        hits = np.array(trial.predictions) == true_ids
        recalls[name] = hits[np.isin(true_ids, WEAK)].mean()
        steps.add(trial.num_steps)
        assert trial.num_synthetic == 0
    assert len(steps) == 1
    assert recalls["class_gaussians"] > recalls["real"] + 0.1
    assert recalls["balanced_feature_noise"] > recalls["real"] + 0.1
