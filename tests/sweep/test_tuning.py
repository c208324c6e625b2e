"""The choice of learning rates: by the weak classes' F1, within what the others may lose, and told by hand."""

from dataclasses import replace

import numpy as np
import pytest
from planted_sweep import SWEEP, Sweep, World, pools_of, question_of

from flowerti.artifacts.records import Trial
from flowerti.config.experiment import SweepConfig
from flowerti.sweep.rounds import Cell
from flowerti.sweep.tuning import choose_factors, tuning_trials
from flowerti.tables.arms import ARMS, BASELINE, judged_arm

TRUE_IDS = np.repeat(np.arange(6), 10)
"""Classes 4 and 5 are weak."""


def trial(arm: str, ratio: float, factor: float, num_weak: int, num_rest: int = 10) -> Trial:
    """The first so many images of each weak class and of each other one are guessed right."""
    right = np.where(TRUE_IDS >= 4, num_weak, num_rest)
    is_right = np.arange(60) % 10 < right
    return Trial(
        arm=arm,
        ratio=ratio,
        repetition=0,
        split="validation",
        predictions=np.where(is_right, TRUE_IDS, (TRUE_IDS + 1) % 4).tolist(),
        num_steps=1,
        num_synthetic=0,
        learning_rate_factor=factor,
    )


def chosen(*trials: Trial, factors: tuple[float, ...] = (1.0, 3.0, 10.0)) -> dict[str, float]:
    config = replace(SWEEP, learning_rate_factors=factors, max_rest_drop=0.05)
    return choose_factors(trials, TRUE_IDS, question_of(pools_of(World(0), {4: 4, 5: 5}), config))


def test_the_rate_with_the_best_weak_classes_is_chosen_for_each_arm():
    found = chosen(
        *(trial("real", 0.0, f, n) for f, n in ((1.0, 3), (3.0, 6), (10.0, 5))),
        *(trial("token", 1.0, f, n) for f, n in ((1.0, 3), (3.0, 6), (10.0, 7))),
        *(trial("token", 4.0, f, n) for f, n in ((1.0, 9), (3.0, 3), (10.0, 3))),
    )
    assert found == {"real": 3.0, "token": 1.0}, "one rate for all levels of an arm: 3 + 9 of 20 against 9 and 10"


def test_a_rate_that_costs_the_other_classes_too_much_is_not():
    ruinous = trial("real", 0.0, 10.0, num_weak=9, num_rest=5)
    assert chosen(trial("real", 0.0, 1.0, 3), trial("real", 0.0, 3.0, 4), ruinous) == {"real": 3.0}


def test_of_equal_rates_the_smallest_is_chosen():
    assert chosen(*(trial("real", 0.0, f, 5) for f in (10.0, 3.0, 1.0)), factors=(10.0, 3.0, 1.0)) == {"real": 1.0}


def test_a_rate_whose_trial_failed_is_left_out():
    rows = [trial("token", 1.0, f, 5) for f in (1.0, 10.0)] + [trial("token", 4.0, 1.0, 5)]
    assert chosen(*rows) == {"token": 1.0}
    assert chosen(trial("token", 1.0, 10.0, 5), trial("token", 4.0, 1.0, 5)) == {"token": 1.0}, "the config's first"
    assert chosen() == {}


def test_every_cell_is_tried_at_every_rate_once():
    question = question_of(pools_of(World(0), {4: 4, 5: 5}), replace(SWEEP, learning_rate_factors=(1.0, 3.0)))
    cells = [Cell(BASELINE, 0.0), Cell(judged_arm(), 1.0), Cell(judged_arm(), 4.0)]
    plans = tuning_trials(cells, question)
    tried = {(p.arm.name, p.ratio, p.learning_rate_factor) for p in plans}
    assert len(tried) == len(plans) == 6
    assert {(p.split, p.repetition.index) for p in plans} == {("validation", 0)}
    alone = replace(question, config=replace(SWEEP, learning_rate_factors=(3.0,)))
    assert tuning_trials(cells, alone) == []


def test_the_protocol_compares_arms_at_their_own_rates():
    world = World(0)
    config = SweepConfig(
        mixing=("added",),
        ratios=(4.0,),
        num_bootstrap=100,
        free_arms=("real", "balanced"),
        negative_control=False,
        learning_rate_factors=(0.01, 1.0),
    )
    sweep = Sweep(pools_of(world, {4: 4, 5: 5}), world)
    table = sweep.table(config)
    assert table.learning_rate_factors["real"] == 1.0, "at a hundredth of the rate nothing is learnt"
    assert set(table.learning_rate_factors) == {row.arm for row in table.rows}
    used = [t for t in sweep.trials if t.split == "test"]
    assert {t.learning_rate_factor for t in used if t.arm == "real"} == {1.0}
    same_world = World(0)
    untuned = Sweep(pools_of(same_world, {4: 4, 5: 5}), same_world)
    fixed = untuned.table(replace(config, learning_rate_factors=(1.0,)))
    arms_at_1 = {name for name, factor in table.learning_rate_factors.items() if factor == 1.0}
    same = {(r.split, r.arm, r.ratio): r.weak_f1 for r in fixed.rows}
    assert {k: v for k, v in same.items() if k[1] in arms_at_1} == pytest.approx(
        {(r.split, r.arm, r.ratio): r.weak_f1 for r in table.rows if r.arm in arms_at_1}
    )
    assert ARMS["balanced"].name in table.learning_rate_factors
