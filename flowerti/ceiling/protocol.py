"""The rehearsal as a whole: controls at their own learning rates, the best of them, and what is tried on top of it.

Training is passed in as a function. This module does not know about Ray, files, or how a trial is trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from flowerti.artifacts.ceiling import Ceiling, CeilingRow
from flowerti.artifacts.records import Trial
from flowerti.ceiling.rehearsal import Rehearsal
from flowerti.ceiling.trials import RehearsalPlan, arm_of, control_plans, plans_on
from flowerti.config.experiment import CeilingConfig, ReplicationConfig, SweepConfig
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.recommendation import best_control
from flowerti.sweep.rounds import Cell, arms_of
from flowerti.sweep.statistics import SweepAnalysis
from flowerti.sweep.tuning import choose_factors
from flowerti.tables.arms import ARMS, Arm

Train = Callable[[list[RehearsalPlan]], list[Trial]]
"""Runs trials, in their order."""


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


def find_ceiling(
    rehearsal: Rehearsal,
    question: SweepQuestion,
    true_ids: Int64[np.ndarray, " num"],
    config: CeilingConfig,
    train: Train,
) -> Ceiling:
    """Run all trials of the rehearsal.

    Args:
        rehearsal: classes and draws.
        question: from `ceiling_question`.
        true_ids: true class of each validation image.
        config: the probability of round trips.
        train: runs trials.
    """
    controls = [ARMS[name] for name in question.config.free_arms]
    factors = _tune(controls, question, true_ids, train)
    draws = range(len(rehearsal.orders))
    plans = [plan for c in controls for plan in control_plans([c], draws, factors[c.name])]
    trials = train(plans)
    cells = [Cell(control, 0.0) for control in controls]
    first = SweepAnalysis(trials, arms_of(cells), true_ids, question)
    control = best_control(first.rows(), first.arms, question.config)
    more = plans_on(control, rehearsal, config.round_trip_probability, factors[control.name])
    on_top = list(dict.fromkeys(plan.cell for plan in more))
    analysis = SweepAnalysis([*trials, *train(more)], arms_of([*cells, *on_top]), true_ids, question)
    return _ceiling(rehearsal, question, analysis, control, on_top, factors)


def _tune(
    controls: Sequence[Arm], question: SweepQuestion, true_ids: Int64[np.ndarray, " num"], train: Train
) -> dict[str, float]:
    """The factor of the learning rate for each control: the best in the first draw."""
    grid = question.config.learning_rate_factors
    if len(grid) == 1:
        return {control.name: grid[0] for control in controls}
    tried = train([plan for factor in grid for plan in control_plans(controls, [0], factor)])
    return choose_factors(tried, true_ids, question)


def _ceiling(
    rehearsal: Rehearsal,
    question: SweepQuestion,
    analysis: SweepAnalysis,
    control: Arm,
    on_top: Sequence[Cell],
    factors: dict[str, float],
) -> Ceiling:
    rows = [_row(analysis, Cell(ARMS[name], 0.0), Cell(ARMS[name], 0.0)) for name in question.config.free_arms]
    rows += [_row(analysis, cell, Cell(control, 0.0)) for cell in on_top]
    most = Cell(arm_of(control, "unseen_real"), float(rehearsal.num_more[-1]))
    headroom = analysis.contrast(most, Cell(control, 0.0))
    return Ceiling(
        class_names=[question.class_names[class_id] for class_id in rehearsal.class_ids],
        num_kept=rehearsal.num_kept,
        num_draws=len(rehearsal.orders),
        control=control.name,
        rows=rows,
        headroom=headroom.difference,
        headroom_low=headroom.low,
        headroom_high=headroom.high,
        num_headroom=rehearsal.num_more[-1],
        detectable_effect=headroom.detectable_effect,
        learning_rate_factors=factors,
    )


def _row(analysis: SweepAnalysis, cell: Cell, control: Cell) -> CeilingRow:
    row = CeilingRow(
        arm=cell.arm.name,
        label=cell.arm.label,
        control=control.arm.name,
        num_more=int(cell.ratio) if cell.arm.level == "ratio" else 0,
        f1=analysis.weak_f1(cell),
        gain=0.0,
        low=0.0,
        high=0.0,
    )
    if cell == control:
        return row
    found = analysis.contrast(cell, control)
    return replace(row, gain=found.difference, low=found.low, high=found.high)
