"""One trial: a training that diverges is named, and the second stage trains on real images only."""

import dataclasses

import numpy as np
import pytest
from planted_sweep import CLASSIFIER, NUM_CLASSES, SWEEP, Sweep, World, pools_of

from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial import run_trial
from flowerti.sweep.trial_data import TrialData
from flowerti.tables.arms import BASELINE, judged_arm


def test_a_training_that_diverges_names_its_trial():
    sweep = Sweep({}, World(1))
    huge = np.full_like(sweep.evaluation["validation"][0], 3e38)
    data = TrialData(
        train=sweep.train,
        train_ids=sweep.train_ids,
        augmented=None,
        evaluation=huge,
        synthetic={},
        num_classes=NUM_CLASSES,
    )
    plan = TrialPlan(arm=BASELINE, ratio=0.0, repetition=Repetition(index=2), split="validation")
    with pytest.raises(ValueError, match=r"trial validation\.real\.0\.2: logits are NaN"):
        run_trial(data, plan, CLASSIFIER, 0, None, SWEEP)


def test_the_second_stage_starts_from_the_first_and_sees_real_images_only():
    world = World(2)
    sweep = Sweep(pools_of(world, {4: 4, 5: 5}), world)
    plan = TrialPlan(arm=judged_arm(), ratio=4.0, repetition=Repetition(index=0), split="validation")
    data = TrialData(
        train=sweep.train,
        train_ids=sweep.train_ids,
        augmented=None,
        evaluation=sweep.evaluation["validation"][0],
        synthetic=sweep.pools,
        num_classes=NUM_CLASSES,
    )
    refit = dataclasses.replace(SWEEP, refit_epochs=40)
    one, two = (run_trial(data, plan, CLASSIFIER, 0, None, config).predictions for config in (SWEEP, refit))
    assert one != two
    other_pool = {name: np.roll(pool, 1, axis=2) for name, pool in sweep.pools.items()}
    long = dataclasses.replace(CLASSIFIER, learning_rate=0.2)
    wrong = dataclasses.replace(data, synthetic=other_pool)
    repaired = run_trial(wrong, plan, long, 0, None, dataclasses.replace(SWEEP, refit_epochs=200)).predictions
    spoiled = run_trial(wrong, plan, long, 0, None, SWEEP).predictions
    truth = sweep.evaluation["validation"][1]
    assert (np.array(repaired) == truth).mean() > (np.array(spoiled) == truth).mean()
