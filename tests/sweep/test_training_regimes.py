"""Two stages, and a small network from random weights: what each trial trains on, and that all make as many steps."""

import dataclasses

import numpy as np
import pytest
from planted_sweep import CLASSIFIER, NUM_CLASSES, NUM_TRAIN, SWEEP, WEAK, World
from trial_arrays import data_of

from flowerti.classifier.small_network import new_network
from flowerti.config.experiment import ClassifierConfig, SweepConfig
from flowerti.sweep import trial
from flowerti.sweep.mixing import mix
from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.rounds import Cell, TrialPlan, final_round, first_round
from flowerti.sweep.trial import run_trial
from flowerti.sweep.trial_data import PoolKey, TrialData, check_ratios
from flowerti.tables.arms import ARMS, BASELINE, judged_arm, replaced_on
from flowerti.tables.sources import SOURCES

FIRST = Repetition(index=0)
NAMED = dataclasses.replace(
    SWEEP, extra_arms=("token_first", "balanced_first"), replace_probabilities=(0.3, 0.6), free_arms=("real",)
)


def plan_of(name: str, level: float) -> TrialPlan:
    return TrialPlan(arm=ARMS[name], ratio=level, repetition=FIRST, split="validation")


def test_the_first_stage_has_whole_pools_at_every_level():
    for level in (0.2, 0.9):
        found = mix(data_of(), plan_of("token_first", level), SweepConfig(), 5)
        assert found.num_real == 12
        assert sorted(found.inputs[12:, 0, 0].astype(int)) == [*range(100, 110), *range(200, 210)]
    check_ratios(data_of(), [plan_of("token_first", 5.0)])
    assert len(mix(data_of(), plan_of("balanced_first", 0.5), SweepConfig(), 5).class_ids) == 12


def test_arms_with_stages_run_at_the_shares_and_all_of_them_on_test():
    cells = [cell for cell in first_round(NAMED, {"token": 2}) if cell.arm.level == "share"]
    assert [(cell.arm.name, cell.ratio) for cell in cells] == [
        ("token_first", 0.3),
        ("token_first", 0.6),
        ("balanced_first", 0.3),
        ("balanced_first", 0.6),
    ]
    shown = Cell(judged_arm(), 4.0)
    assert final_round([*cells, Cell(judged_arm(), 1.0)], [shown]) == cells


def planted(shown: dict[int, int]) -> TrialData:
    world = World(2)
    train, ids = world.split(NUM_TRAIN)
    return TrialData(
        train=train,
        train_ids=ids,
        augmented=None,
        evaluation=world.split([40] * NUM_CLASSES)[0],
        synthetic={PoolKey(class_id, "token"): world.draw(of, 30) for class_id, of in shown.items()},
        num_classes=NUM_CLASSES,
    )


def weak_recall(data: TrialData, name: str, level: float) -> float:
    found = np.array(run_trial(data, plan_of(name, level), CLASSIFIER, 0, None, SWEEP).predictions)
    true_ids = np.repeat(np.arange(NUM_CLASSES), 40)
    return float((found == true_ids)[np.isin(true_ids, WEAK)].mean())


def test_good_images_in_the_first_stage_help_and_wrong_ones_harm():
    good, wrong = planted({4: 4, 5: 5}), planted({4: 0, 5: 1})
    found = {name: weak_recall(data, "token_first", 0.9) for name, data in (("good", good), ("wrong", wrong))}
    real = weak_recall(good, "balanced_first", 0.9)
    assert found["good"] > max(real, found["wrong"])
    assert weak_recall(good, "token_first", 0.0) == weak_recall(good, "real", 0.0), "no first stage is the control"


@pytest.mark.parametrize("name", ["token_first", "balanced_first", "real"])
def test_every_arm_makes_as_many_steps(name: str):
    data, level = planted({4: 4, 5: 5}), 0.0 if name == "real" else 0.5
    expected = CLASSIFIER.num_epochs * -(-sum(NUM_TRAIN) // CLASSIFIER.batch_size)
    assert run_trial(data, plan_of(name, level), CLASSIFIER, 0, None, SWEEP).num_steps == expected


SCRATCH = ClassifierConfig(mode="scratch", input_size_px=16, num_epochs=2, batch_size=6, learning_rate=0.01)


def coloured(num: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (num, 16, 16, 3), dtype=np.uint8)
    images[np.arange(num), :, :, np.arange(num) % 3] += 120
    return images


def scratch_data() -> TrialData:
    return TrialData(
        train=coloured(18, 0),
        train_ids=np.arange(18) % 3,
        augmented=None,
        evaluation=coloured(12, 1),
        synthetic={PoolKey(1, "token"): coloured(15, 2)[1::3]},
        num_classes=3,
        round_trips=coloured(18, 3),
    )


def test_from_random_weights_all_arms_of_a_repetition_start_alike(monkeypatch: pytest.MonkeyPatch):
    starts, data, network = [], scratch_data(), new_network(16)

    def note(backbone, *arguments):
        starts.append(backbone.module.state_dict()["halvings.0.weight"].clone())
        return fine_tune(backbone, *arguments)

    fine_tune = trial.fine_tune
    monkeypatch.setattr(trial, "fine_tune", note)
    arms = [BASELINE, ARMS["balanced_first"], ARMS["token_first"], ARMS["round_trip_all"]]
    arms += [replaced_on(ARMS["augmented"], SOURCES["token"])]
    steps = set()
    for arm in arms:
        plan = TrialPlan(arm=arm, ratio=0.0 if arm.is_control else 0.5, repetition=FIRST, split="validation")
        steps.add(run_trial(data, plan, SCRATCH, 0, network, SWEEP).num_steps)
    other = dataclasses.replace(plan_of("real", 0.0), repetition=Repetition(index=1))
    run_trial(data, other, SCRATCH, 0, network, SWEEP)
    assert steps == {6}
    assert all((start == starts[0]).all() for start in starts[: len(arms)])
    assert not (starts[-1] == starts[0]).all(), "another repetition has another start"


def test_a_refit_goes_on_from_features_of_the_trained_network():
    data, refit = scratch_data(), dataclasses.replace(SWEEP, refit_epochs=30)
    config = dataclasses.replace(SCRATCH, num_epochs=6)
    found = run_trial(data, plan_of("token_first", 0.5), config, 0, new_network(16), refit)
    assert (np.array(found.predictions) == np.arange(12) % 3).mean() > 0.8
