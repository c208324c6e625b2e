"""The rehearsal as a whole: controls at their own learning rates, the best of them, and what is tried on top of it.

Training is passed in as a function. This module does not know about Ray, files, or how a trial is trained.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from flowerti.artifacts.ceiling import Ceiling, CeilingRow, Kind
from flowerti.artifacts.records import Trial
from flowerti.ceiling.rehearsal import Rehearsal
from flowerti.ceiling.trials import LABELS, RehearsalPlan, arm_of, control_plans, curve_plans, round_trip_plans
from flowerti.config.experiment import CeilingConfig, ReplicationConfig, SweepConfig
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.recommendation import best_control
from flowerti.sweep.rounds import Cell, arms_of
from flowerti.sweep.statistics import SweepAnalysis
from flowerti.sweep.tuning import choose_factors
from flowerti.tables.arms import ARMS, Arm

Train = Callable[[list[RehearsalPlan]], list[Trial]]
"""Runs trials, in their order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsed:
    """What the trials of a rehearsal share."""

    rehearsal: Rehearsal
    question: SweepQuestion
    """From `ceiling_question`."""
    true_ids: Int64[np.ndarray, " num"]
    """True class of each validation image."""
    train: Train
    """For trials without round trips."""
    train_with_round_trips: Callable[[Arm], Train]
    """The same with round trips, in the views that the control wants; nothing is drawn before the control is known."""
    detectable_effect: float
    """The smallest gain of the weak classes that the run could find."""


def ceiling_question(
    config: SweepConfig, rehearsal: Rehearsal, class_names: Sequence[str], run_seed: int
) -> SweepQuestion:
    """What the statistics of the sweep are asked about the rehearsal classes; each draw is a repetition of its own."""
    return SweepQuestion(
        config=config,
        class_names=tuple(class_names),
        weak_ids=list(rehearsal.class_ids),
        num_train=[],
        pools={},
        run_seed=run_seed,
        replication=ReplicationConfig(num_draws=len(rehearsal.orders), num_learnings=1),
    )


def find_ceiling(rehearsed: Rehearsed, config: CeilingConfig) -> Ceiling:
    """Run all controls, and on top of the best one unseen images and round trips.

    Args:
        rehearsed: classes, draws and how they are trained.
        config: the probability of round trips.
    """
    question, rehearsal = rehearsed.question, rehearsed.rehearsal
    controls = [ARMS[name] for name in question.config.free_arms]
    factors, first = _tune(controls, rehearsed)
    trials = _controls(controls, rehearsed, factors, first)
    cells = [Cell(control, 0.0) for control in controls]
    found = SweepAnalysis(trials, arms_of(cells), rehearsed.true_ids, question)
    control = best_control(found.rows(), found.arms, question.config)
    factor = factors[control.name]
    trials += rehearsed.train(curve_plans(control, rehearsal, factor))
    trips = round_trip_plans(control, rehearsal, config.round_trip_probability, factor)
    trials += rehearsed.train_with_round_trips(control)(trips)
    return _ceiling(rehearsed, control, trials, factors)


def find_curve(rehearsed: Rehearsed, control: Arm, known: Mapping[str, float]) -> Ceiling:
    """Unseen images alone, on top of a control that is given.

    Args:
        rehearsed: classes, draws and how they are trained.
        control: the control.
        known: factors of the learning rate that were found with the same rehearsal, by control.
    """
    controls = list(dict.fromkeys([ARMS["real"], control]))
    factors, first = _tune([control for control in controls if control.name not in known], rehearsed)
    factors = {control.name: known.get(control.name) or factors[control.name] for control in controls}
    trials = _controls(controls, rehearsed, factors, first)
    more = rehearsed.train(curve_plans(control, rehearsed.rehearsal, factors[control.name]))
    return _ceiling(rehearsed, control, [*trials, *more], factors)


def _tune(controls: Sequence[Arm], rehearsed: Rehearsed) -> tuple[dict[str, float], dict[str, Trial]]:
    """The factor of the learning rate for each control, the best in the first draw; and its trial of that draw."""
    if not controls:
        return {}, {}
    grid = rehearsed.question.config.learning_rate_factors
    if len(grid) == 1:
        return {control.name: grid[0] for control in controls}, {}
    plans = [plan for factor in grid for plan in control_plans(controls, [0], factor)]
    tried = rehearsed.train(plans)
    factors = choose_factors(tried, rehearsed.true_ids, rehearsed.question)
    chosen = {
        plan.control.name: trial
        for plan, trial in zip(plans, tried, strict=True)
        if plan.learning_rate_factor == factors[plan.control.name]
    }
    return factors, chosen


def _controls(
    controls: Sequence[Arm], rehearsed: Rehearsed, factors: dict[str, float], first: dict[str, Trial]
) -> list[Trial]:
    """All draws of each control; those that are there already, the `first` ones of some, are not trained again."""
    draws = range(len(rehearsed.rehearsal.orders))
    plans = [plan for c in controls for plan in control_plans([c], draws, factors[c.name])]
    missing = [plan for plan in plans if plan.draw or plan.control.name not in first]
    trained = dict(zip(missing, rehearsed.train(missing), strict=True))
    return [trained[plan] if plan in trained else first[plan.control.name] for plan in plans]


def _ceiling(rehearsed: Rehearsed, control: Arm, trials: list[Trial], factors: dict[str, float]) -> Ceiling:
    rehearsal, question = rehearsed.rehearsal, rehearsed.question
    kinds = {arm_of(control, kind).name: arm_of(control, kind) for kind in LABELS}
    places = dict.fromkeys((trial.arm, trial.ratio) for trial in trials)
    cells = [Cell(kinds.get(arm) or ARMS[arm], ratio) for arm, ratio in places]
    analysis = SweepAnalysis(trials, arms_of(cells), rehearsed.true_ids, question)
    headroom = analysis.contrast(
        Cell(arm_of(control, "unseen_real"), float(rehearsal.num_more[-1])), Cell(control, 0.0)
    )
    return Ceiling(
        class_names=[question.class_names[class_id] for class_id in rehearsal.class_ids],
        num_kept=rehearsal.num_kept,
        num_draws=len(rehearsal.orders),
        control=control.name,
        control_label=control.label,
        rows=[_row(analysis, cell, control) for cell in cells],
        headroom=headroom.difference,
        headroom_low=headroom.low,
        headroom_high=headroom.high,
        num_headroom=rehearsal.num_more[-1],
        detectable_effect=rehearsed.detectable_effect,
        learning_rate_factors=factors,
    )


def _row(analysis: SweepAnalysis, cell: Cell, best: Arm) -> CeilingRow:
    """A control against itself, anything else against the control that it is on top of."""
    kind = _kind(cell.arm, best)
    row = CeilingRow(
        arm=cell.arm.name,
        label=cell.arm.label,
        kind=kind,
        control=cell.arm.control,
        num_more=int(cell.ratio) if kind == "unseen_real" else 0,
        f1=analysis.weak_f1(cell),
        gain=0.0,
        low=0.0,
        high=0.0,
    )
    if kind == "real":
        return row
    found = analysis.contrast(cell, Cell(best, 0.0))
    return replace(row, gain=found.difference, low=found.low, high=found.high)


def _kind(arm: Arm, best: Arm) -> Kind:
    for kind in LABELS:
        if kind != "real" and arm == arm_of(best, kind):
            return kind
    return "real"
