"""The rehearsal under controls that change features, which it must treat as the sweep does."""

import dataclasses

import numpy as np
import pytest

from flowerti.artifacts.ceiling import Kind
from flowerti.artifacts.identity import seed_for
from flowerti.ceiling.rehearsal import Rehearsal
from flowerti.ceiling.trials import RehearsalData, RehearsalPlan, train_trial
from flowerti.classifier.batches import LabelledInputs, TrainingRun, Treatment
from flowerti.classifier.training import fit_head, steps_per_epoch
from flowerti.config.experiment import ClassifierConfig
from flowerti.sweep.feature_rivals import gaussian_features
from flowerti.tables.arms import ARMS

CONFIG = ClassifierConfig(num_epochs=4, batch_size=8, learning_rate=0.03)
IDS = np.repeat(np.arange(3), [8, 8, 4])


def rehearsal_data() -> RehearsalData:
    """Class 1 keeps three of its eight images."""
    rng = np.random.default_rng(0)
    features = (np.eye(3, 5)[IDS] + rng.normal(size=(20, 5))).astype(np.float32)
    return RehearsalData(
        rehearsal=Rehearsal(class_ids=(1,), num_kept=3, num_more=(1,), orders=({1: np.arange(8, 16)},)),
        train=np.repeat(features[:, None], 2, axis=1),
        train_ids=IDS,
        augmented=None,
        round_trip_rows=np.arange(20),
        round_trip=np.repeat(features[:, None] + 0.1, 2, axis=1),
        evaluation=rng.normal(size=(200, 1, 5)).astype(np.float32),
        num_classes=3,
    )


def predictions(data: RehearsalData, control: str, kind: Kind = "real", level: float = 0.0) -> list[int]:
    plan = RehearsalPlan(control=ARMS[control], kind=kind, draw=0, level=level)
    return train_trial(data, plan, CONFIG, 7).predictions


def test_gaussians_stand_beside_the_images_that_are_kept():
    data = rehearsal_data()
    rows = np.array([*range(11), *range(16, 20)])
    real, ids = data.train[rows], IDS[rows]
    seed = seed_for(7, "", "ceiling/trial", 0)
    drawn, drawn_ids = gaussian_features(real, ids, seed)
    assert np.bincount(drawn_ids, minlength=3).tolist() == [0, 5, 4]
    train = LabelledInputs(
        inputs=np.concatenate([real, np.repeat(drawn, 2, axis=1)]),
        class_ids=np.concatenate([ids, drawn_ids]),
        num_classes=3,
    )
    run = TrainingRun(config=CONFIG, seed=seed, num_steps=CONFIG.num_epochs * steps_per_epoch(len(rows), 8))
    head = fit_head(train, run, Treatment(num_counted=len(rows)))
    expected = head.logits(data.evaluation[:, 0]).argmax(axis=1).tolist()
    assert predictions(data, "class_gaussians") == expected != predictions(data, "real")


@pytest.mark.parametrize("kind", ["real", "round_trip", "round_trip_all"])
@pytest.mark.parametrize("control", ["class_gaussians", "feature_noise", "balanced_softmax_feature_noise"])
def test_a_control_that_changes_features_is_no_plain_one(control: str, kind: Kind):
    data, level = rehearsal_data(), 0.0 if kind == "real" else 0.6
    plain = dataclasses.replace(ARMS[control], features="")
    found = predictions(data, control, kind, level)
    plan = RehearsalPlan(control=plain, kind=kind, draw=0, level=level)
    assert found != train_trial(data, plan, CONFIG, 7).predictions
    assert found == predictions(data, control, kind, level)
