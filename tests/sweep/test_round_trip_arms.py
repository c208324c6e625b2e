"""Arms with round trips: what they train on by hand, and that a look which drawn images share tells no class apart."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from planted_sweep import CLASSIFIER, NUM_CLASSES, NUM_TRAIN, SWEEP, WEAK, World
from trial_arrays import TRAIN_IDS, data_of, marked

from flowerti.config.experiment import SweepConfig
from flowerti.sweep.mixing import Mixture, mix
from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial import run_trial
from flowerti.sweep.trial_data import PoolKey, TrialData, check_trial_data
from flowerti.tables.arms import ARMS, BASELINE, Arm, replaced_on
from flowerti.tables.sources import SOURCES

FIRST = Repetition(index=0)


def mixed(name: str, data: TrialData, repetition: Repetition = FIRST, **settings: Any) -> Mixture:
    plan = TrialPlan(arm=ARMS[name], ratio=0.5, repetition=repetition, split="validation")
    return mix(data, plan, SweepConfig(**settings), 5)


def with_trips(**changes: object) -> TrialData:
    """Row i of the training images comes back as 2000 + i, and as 3000 + i where it is augmented."""
    num = len(TRAIN_IDS)
    trips = {"round_trips": marked(2000, num), "augmented_round_trips": marked(3000, num, num_views=4)}
    return data_of(**{**trips, **changes})


def marks(found: Mixture) -> list[int]:
    return found.inputs[found.num_real :, 0, 0].astype(int).tolist()


def test_weak_classes_have_their_tokens_images_and_all_others_their_own_round_trips():
    found = mixed("token_round_trip_rest", with_trips())
    assert sorted(marks(found)) == [*range(100, 110), *range(200, 210), *range(2000, 2006)]
    of_class = {c: {m // 100 for m in np.array(marks(found))[found.class_ids[12:] == c]} for c in (0, 1, 2)}
    assert of_class == {0: {20}, 1: {1}, 2: {2}}
    assert found.num_real == 12


def test_the_control_has_round_trips_in_every_class_and_needs_no_drawn_image():
    for data in (with_trips(), with_trips(synthetic={})):
        found = mixed("round_trip_all", data)
        assert marks(found) == [*range(2000, 2012)]
        assert found.class_ids[12:].tolist() == TRAIN_IDS.tolist()


def test_a_draw_has_the_round_trips_of_its_own_images():
    ids = np.array([0] * 6 + [1] * 4 + [2] * 4)
    data = with_trips(
        train=marked(0, 14),
        train_ids=ids,
        round_trips=marked(2000, 14),
        draws=(np.arange(12), np.array([*range(10), 12, 13])),
    )
    found = mixed("round_trip_all", data, Repetition(index=1, draw=1))
    assert marks(found) == [*range(2000, 2010), 2012, 2013]


def test_an_arm_that_augments_has_augmented_round_trips():
    found = mixed("augmented+token_round_trip_rest", with_trips())
    assert {m for m in marks(found) if m >= 1000} == set(range(3000, 3006))
    assert found.inputs.shape[1] == 4


def test_round_trips_are_weighed_and_smoothed_like_drawn_images():
    for name in ("token_round_trip_rest", "round_trip_all"):
        found = mixed(name, with_trips(), synthetic_weight=0.25, synthetic_smoothing=0.1)
        assert found.weights is not None and found.smoothing is not None
        assert set(found.weights[:12]) == {1.0} and set(found.weights[12:]) == {0.25}
        assert set(found.smoothing[:12]) == {0.0} and set(found.smoothing[12:]) == {np.float32(0.1)}


def test_missing_or_broken_round_trips_are_named():
    with pytest.raises(ValueError, match="arm round_trip_all: round trips of the training images are missing"):
        mixed("round_trip_all", data_of())
    broken = with_trips(round_trips=np.full((12, 2, 3), np.nan, np.float32))
    with pytest.raises(ValueError, match="images 'round trips': features hold NaN"):
        check_trial_data(broken)


def shares_called_weak(arms: dict[str, Arm]) -> dict[str, float]:
    """Of images of frequent classes that have the look of drawn ones: how many are taken for a weak class.

    Drawn images have nothing but the look, one further feature, in common with one another.
    """
    world, look = World(4), 4.0
    train, ids = world.split(NUM_TRAIN)
    evaluation, true_ids = world.split([60] * NUM_CLASSES)

    def seen(features: np.ndarray, value: float) -> np.ndarray:
        return np.concatenate([features, np.full((*features.shape[:2], 1), value, np.float32)], axis=2)

    data = TrialData(
        train=seen(train, 0.0),
        train_ids=ids,
        augmented=None,
        evaluation=seen(evaluation, look),
        synthetic={PoolKey(c, "token"): seen(world.draw(c, 12), look) for c in WEAK},
        num_classes=NUM_CLASSES,
        round_trips=seen(train, look),
    )
    config, found = dataclasses.replace(CLASSIFIER, num_epochs=20), {}
    for name, arm in arms.items():
        plan = TrialPlan(arm=arm, ratio=0.5, repetition=FIRST, split="validation")
        predictions = np.array(run_trial(data, plan, config, 0, None, SWEEP).predictions)
        found[name] = float(np.isin(predictions, WEAK)[~np.isin(true_ids, WEAK)].mean())
    return found


def test_the_look_of_drawn_images_tells_weak_classes_only_where_no_other_class_has_it():
    token = SOURCES["token"]
    found = shares_called_weak(
        {
            "plain": replaced_on(ARMS["balanced"], token),
            "broken link": ARMS["balanced+token_round_trip_rest"],
            "control": ARMS["balanced+round_trip_all"],
        }
    )
    assert found["plain"] > 0.2, "the look stands for the class"
    assert found["broken link"] < found["plain"] / 3
    assert found["control"] < found["plain"] / 3


def test_steps_and_the_order_of_real_images_are_those_of_the_baseline():
    world = World(4)
    train, ids = world.split(NUM_TRAIN)
    data = TrialData(
        train=train,
        train_ids=ids,
        augmented=None,
        evaluation=train,
        synthetic={},
        num_classes=NUM_CLASSES,
        round_trips=train.copy(),
    )
    arms = {"real": (BASELINE, 0.0), "all": (ARMS["round_trip_all"], 0.5)}
    trials = {
        name: run_trial(
            data, TrialPlan(arm=arm, ratio=p, repetition=FIRST, split="validation"), CLASSIFIER, 0, None, SWEEP
        )
        for name, (arm, p) in arms.items()
    }
    assert trials["all"].num_steps == trials["real"].num_steps
    assert trials["all"].num_synthetic == 0
