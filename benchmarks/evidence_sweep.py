"""How often the sweep's rule is right and its intervals hold the truth, on sweeps whose truth is known.

This module does not know how the worlds are drawn.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.simulated_sweeps import World, draw_trials, question_of
from flowerti.artifacts.records import Trial
from flowerti.config.experiment import SweepConfig
from flowerti.sweep.bootstrap import resampled_f1
from flowerti.sweep.recommendation import best_control, recommend, recommend_classes
from flowerti.sweep.rounds import Cell, arms_of
from flowerti.sweep.statistics import SweepAnalysis
from flowerti.tables.arms import ARMS, BASELINE, Arm, judged_arm

CONFIG = SweepConfig(
    mixing=("added",),
    free_arms=("real", "balanced", "balanced_softmax", "augmented"),
    num_bootstrap=300,
    max_rest_drop=1.0,
)
"""The other classes' loss stops no ratio here: what is asked is how often the two gains alone are believed."""


def false_recommendation(world: World, num_sweeps: int, seed: int) -> dict[str, Any]:
    """The share of sweeps in which the rule recommends images; of a world with an effect, its power.

    Returns:
        "value", "low" and "high" (95 % interval of Clopper and Pearson), "num_found", "num_sweeps", and "of_class": the
        share of sweeps in which it recommends some for a single class.
    """
    rng = np.random.default_rng(seed)
    found = [_recommended(*analysis_of(world, rng)) for _ in range(num_sweeps)]
    whole, classes = (sum(one) for one in zip(*found, strict=True))
    return rate(whole, num_sweeps) | {"of_class": classes / num_sweeps}


def rate(num_found: int, num: int) -> dict[str, Any]:
    """A share with its exact 95 % interval (Clopper and Pearson 1934)."""
    interval = stats.binomtest(num_found, num).proportion_ci()
    return {
        "value": num_found / num,
        "low": float(interval.low),
        "high": float(interval.high),
        "num_found": num_found,
        "num_sweeps": num,
    }


def analysis_of(world: World, rng: np.random.Generator) -> tuple[SweepAnalysis, Arm]:
    """The analysis of one drawn sweep, and its judged arm: at fixed mass on top of the control that looks best."""
    trials, question = draw_trials(world, "validation", rng), question_of(world, CONFIG)
    cells, judged = world.cells, judged_arm()
    if world.mass == "fixed":
        controls = [cell for cell in cells if cell.arm.is_control]
        first = SweepAnalysis(_of(trials, controls), arms_of(controls), world.true_ids, question)
        judged = judged_arm("fixed", best_control(first.rows(), first.arms, CONFIG))
        cells = [*controls, *(cell for cell in cells if cell.arm == judged)]
    return SweepAnalysis(_of(trials, cells), arms_of(cells), world.true_ids, question), judged


def _of(trials: list[Trial], cells: list[Cell]) -> list[Trial]:
    names = {cell.arm.name for cell in cells}
    return [trial for trial in trials if trial.arm in names]


def _recommended(analysis: SweepAnalysis, arm: Arm) -> tuple[bool, bool]:
    """Whether images are recommended for the weak classes together, and for one of them."""
    rows = analysis.rows()
    ratio, _ = recommend(rows, analysis.arms, CONFIG, arm)
    classes = recommend_classes(analysis.class_rows(), rows, analysis.arms, CONFIG, arm)
    return ratio > 0, any(one.ratio > 0 for one in classes)


def true_gain(world: World, num_images: int, seed: int) -> float:
    """The weak classes' gain at the first level, from many images of each class and replications.

    Over real images, or at fixed mass over the control that they are on top of.
    """
    large = replace(world, ratios=world.ratios[:1], num_per_class=num_images, num_replications=50, num_seeds=1)
    trials = draw_trials(large, "test", np.random.default_rng(seed))
    groups = np.isin(np.arange(world.num_classes), world.weak_ids)[None] / world.num_weak
    control = ARMS["balanced"] if world.mass == "fixed" else BASELINE
    arms = (control, judged_arm(world.mass, control))
    of_arms = [[t.predictions for t in trials if t.arm == arm.name] for arm in arms]
    once = np.ones((1, 50), dtype=np.int64), np.ones((len(large.true_ids), 1), dtype=np.float32)
    real, judged = resampled_f1(np.array(of_arms), large.true_ids, groups, *once).units[0].mean(axis=1)
    return float(judged - real)


def coverage(world: World, truth: float, num_sweeps: int, seed: int) -> dict[str, Any]:
    """The share of sweeps whose interval of the weak classes' gain at the first ratio holds the true gain."""
    rng, cell = np.random.default_rng(seed), Cell(judged_arm(), world.ratios[0])
    rows = [analysis_of(world, rng)[0].contrast(cell, Cell(BASELINE, 0.0)) for _ in range(num_sweeps)]
    return rate(sum(row.low <= truth <= row.high for row in rows), num_sweeps) | {"true_gain": truth}
