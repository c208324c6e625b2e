"""Images between two classes: the label that an arm gives them, by hand, and what a classifier makes of it."""

import dataclasses

import numpy as np
import pytest
from planted_sweep import CLASSIFIER, NUM_CLASSES, NUM_TRAIN, SWEEP, World
from trial_arrays import data_of, marked

from flowerti.config.experiment import SweepConfig
from flowerti.sweep.mixing import Mixture, mix
from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial import run_trial
from flowerti.sweep.trial_data import PoolKey, SharedLabels, TrialData
from flowerti.tables.arms import ARMS

POOL = PoolKey(2, "token_inter_class")
SHARES = np.array([0.5, 0.7, 1.0, 0.0])


def between(**changes: object) -> TrialData:
    """Four images that class 2 has from classes 0 and 1."""
    labels = {POOL: SharedLabels(own_share=SHARES, source_ids=np.array([0, 1, 0, 1]))}
    return data_of(**{"synthetic": {POOL: marked(700, 4)}, "labels": labels, **changes})


def mixed(name: str, data: TrialData) -> Mixture:
    plan = TrialPlan(arm=ARMS[name], ratio=0.5, repetition=Repetition(index=0), split="validation")
    return mix(data, plan, SweepConfig(), 5)


@pytest.mark.parametrize(
    ("arm", "expected"), [("shared", SHARES.tolist()), ("source", [0.0] * 4)], ids=["shared", "source"]
)
def test_each_image_comes_with_its_own_share_and_class(arm: str, expected: list[float]):
    found = mixed(f"token_inter_class_{arm}_label", between())
    assert found.own_share is not None and found.other_ids is not None
    places = found.inputs[12:, 0, 0].astype(int) - 700
    assert sorted(places) == [0, 1, 2, 3]
    np.testing.assert_allclose(found.own_share[12:], np.array(expected)[places], rtol=1e-6)
    assert found.other_ids[12:].tolist() == np.array([0, 1, 0, 1])[places].tolist()
    assert (found.class_ids[12:] == 2).all(), "in whose place they come"
    assert (found.own_share[:12] == 1).all() and (found.other_ids[:12] == found.class_ids[:12]).all()


def test_images_that_filters_refuse_take_their_labels_with_them():
    found = mixed("token_inter_class_shared_label", between(weights={POOL: np.array([0.0, 1, 1, 0])}))
    assert found.own_share is not None and found.other_ids is not None
    kept = dict(zip(found.inputs[12:, 0, 0].astype(int) - 700, found.own_share[12:], strict=True))
    assert kept == {1: np.float32(0.7), 2: np.float32(1.0)}


def test_other_arms_have_whole_labels_and_missing_ones_are_named():
    found = mixed("real", between())
    assert found.own_share is None and found.other_ids is None
    with pytest.raises(ValueError, match="arm token_inter_class_shared_label: the labels of its images are missing"):
        mixed("token_inter_class_shared_label", between(labels={}))


def test_a_classifier_learns_the_class_that_a_label_names():
    """A cloud apart from all classes comes in the place of class 4 under labels that say class 1 ever more."""
    world = World(3)
    train, ids = world.split(NUM_TRAIN)
    cloud = (6 * np.eye(24)[0] + 0.3 * world.rng.normal(size=(30, 24))).astype(np.float32)[:, None]
    pool = PoolKey(4, "token_inter_class")
    shares = {}
    for name, share in (("shared", 0.9), ("shared", 0.1), ("source", 0.9)):
        data = TrialData(
            train=train,
            train_ids=ids,
            augmented=None,
            evaluation=cloud,
            synthetic={pool: cloud},
            num_classes=NUM_CLASSES,
            labels={pool: SharedLabels(own_share=np.full(30, share), source_ids=np.ones(30, np.int64))},
        )
        plan = TrialPlan(
            arm=ARMS[f"balanced+token_inter_class_{name}_label"],
            ratio=0.6,
            repetition=Repetition(index=0),
            split="validation",
        )
        config = dataclasses.replace(CLASSIFIER, num_epochs=20)
        found = np.array(run_trial(data, plan, config, 0, None, SWEEP).predictions)
        shares[name, share] = [(found == class_id).mean() for class_id in (4, 1)]
    assert shares["shared", 0.9] == [1, 0]
    assert shares["shared", 0.1] == [0, 1]
    assert shares["source", 0.9] == [0, 1], "whatever the images say"
