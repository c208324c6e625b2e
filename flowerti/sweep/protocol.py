"""The protocol of the sweep: all decisions are made on validation, then the test split is used once.

Rounds: all arms on validation; the judged images combined with the best control, on validation; the recommendation; the
final trials on test. Training is passed in as a function, so that the protocol can be tested without a cluster. This
module does not know about Ray, files, or how a trial is trained.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from flowerti.artifacts.records import SweepRow, SweepTable, Trial
from flowerti.artifacts.sweep import SweepContrast, SweepIntent, Verdict
from flowerti.data.dataset import Split
from flowerti.sweep.action import Choice, choose_action
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.recommendation import (
    SIGNIFICANCE,
    best_control,
    recommend,
    recommend_classes,
    tell_of_others,
    warn,
)
from flowerti.sweep.rounds import Cell, TrialPlan, arms_of, final_round, first_round, plan_trials, second_round
from flowerti.sweep.statistics import SweepAnalysis
from flowerti.tables.arms import BASELINE, Arm, judged_arm, repeating_arm, stacked_name

Train = Callable[[list[TrialPlan]], tuple[list[Trial], list[str]]]
"""Runs trials; returns those of complete arms, and one sentence per failure."""
RULE = "Holm over ratios of the larger p of gain and content, and a loss of the rest shown to be small"
"""Name of what `recommendation.recommend` does; changed with it, so that a run begun under another rule tells so."""
_NOT_IN_SETTINGS = ("ratios", "num_seeds", "max_rest_drop", "max_concurrent_trials")
"""Settings with a field of their own in the plan, and one that no number depends on."""


def primary_contrast() -> str:
    """The primary contrast, which is fixed before the first trial."""
    return (
        f"Mean F1 of the weak classes on test: arm {judged_arm().name} at the ratio that validation chooses (where it "
        f"chooses none, at the ratio with the largest gain there), minus arm {BASELINE.name} at equal optimiser steps, "
        "paired by seed and image."
    )


def intent(question: SweepQuestion) -> SweepIntent:
    """The plan as far as the question tells it; who runs the sweep adds what identifies data, images and classifier."""
    config, cells = question.config, first_round(question.config, question.pools)
    names = list(dict.fromkeys(cell.arm.name for cell in cells))
    for control in (cell.arm for cell in cells if cell.arm.is_control):
        on_top = second_round(config, question.pools, cells, control)
        names += [stacked_name("<best control>", cell.arm.name.removeprefix(f"{control.name}+")) for cell in on_top]
    return SweepIntent(
        primary_contrast=primary_contrast(),
        arms=list(dict.fromkeys(names)),
        ratios=sorted(config.ratios),
        num_seeds=config.num_seeds,
        run_seed=question.run_seed,
        weak_classes=[question.class_names[class_id] for class_id in question.weak_ids],
        rule=RULE,
        alpha=SIGNIFICANCE,
        max_rest_drop=config.max_rest_drop,
        num_trials_validation=len(cells) * config.num_seeds,
        settings={name: value for name, value in dataclasses.asdict(config).items() if name not in _NOT_IN_SETTINGS},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decision:
    """Decisions made on validation before the test split is used."""

    rows: list[SweepRow]
    """Rows of the validation split, which the decisions are based on."""
    ratio: float
    recommendation: str
    shown: float
    """The ratio evaluated on test: the recommended one, or the one with the largest gain if none is recommended."""
    control: Arm
    choice: Choice | None
    """The best action; None without a trial of the judged arm."""


def run_sweep(
    question: SweepQuestion, true_ids: Callable[[Split], Int64[np.ndarray, " num"]], train: Train
) -> SweepTable:
    """Run all rounds.

    Args:
        question: arms, classes and seeds.
        true_ids: returns the true classes of a split; called for the test split only after its trials.
        train: runs trials.

    Raises:
        ValueError: trials do not fit together; as `SweepAnalysis`.
    """
    config, pools = question.config, question.pools
    cells = first_round(config, pools)
    trials, failures = train(plan_trials(cells, config.num_seeds, "validation"))
    validation = SweepAnalysis(trials, arms_of(cells), true_ids("validation"), question)
    control = best_control(validation.rows(), validation.arms, config)
    more = second_round(config, pools, cells, control)
    if more:
        cells = cells + more
        more_trials, more_failures = train(plan_trials(more, config.num_seeds, "validation"))
        trials, failures = trials + more_trials, failures + more_failures
        validation = SweepAnalysis(trials, arms_of(cells), true_ids("validation"), question)
    decision = _decide(question, validation, control)
    final, final_failures = train(plan_trials(final_round(cells, decision.shown), config.num_seeds, "test"))
    test = SweepAnalysis(final, arms_of(cells), true_ids("test"), question)
    return _table(question, decision, validation, test, failures + final_failures)


def _decide(question: SweepQuestion, validation: SweepAnalysis, control: Arm) -> _Decision:
    rows, judged = validation.rows(), judged_arm()
    ratio, recommendation = recommend(rows, validation.arms, question.config, judged)
    shown = ratio or _largest_gain(rows, judged)
    cell = Cell(judged, shown)
    return _Decision(
        rows=rows,
        ratio=ratio,
        recommendation=recommendation,
        shown=shown,
        control=control,
        choice=choose_action(rows, validation.arms, question.config, cell, validation.contrast)
        if validation.has(cell)
        else None,
    )


def _largest_gain(rows: Sequence[SweepRow], judged: Arm) -> float:
    """The judged arm's ratio with the largest gain; 0 if the sweep lacks that arm."""
    own = [row for row in rows if row.arm == judged.name]
    return max(own, key=lambda row: row.weak_gain).ratio if own else 0.0


def _table(
    question: SweepQuestion,
    decision: _Decision,
    validation: SweepAnalysis,
    test: SweepAnalysis,
    failures: list[str],
) -> SweepTable:
    config, arms = question.config, validation.arms
    rows, class_rows = decision.rows, validation.class_rows()
    contrasts = _contrasts(validation, decision)
    return SweepTable(
        rows=rows + test.rows(),
        recommended_ratio=decision.ratio,
        recommendation=decision.recommendation,
        failures=failures,
        primary_contrast=primary_contrast(),
        best_control=decision.control.name,
        warnings=[*warn(decision.ratio, contrasts, arms), *tell_of_others(rows, arms, config)],
        class_ratios=recommend_classes(class_rows, rows, arms, config, judged_arm()),
        contrasts=contrasts + _contrasts(test, decision),
        classes=class_rows + test.class_rows(),
        groups=validation.group_rows() + test.group_rows(),
        arms=list(arms),
        verdict=_verdict(decision.choice, validation, test) if decision.choice else None,
    )


def _verdict(choice: Choice, validation: SweepAnalysis, test: SweepAnalysis) -> Verdict:
    """What was chosen on validation, with its numbers on test; on validation where its trials on test failed."""
    analysis = test if test.has(choice.cell) else validation
    contrast = analysis.contrast(choice.cell, Cell(BASELINE, 0.0))
    before, after = (analysis.weak_f1(cell) for cell in (Cell(BASELINE, 0.0), choice.cell))
    return Verdict(
        action=choice.kind,
        arm=choice.cell.arm.name,
        ratio=choice.cell.ratio,
        reason=choice.reason,
        split=analysis.split,
        before=before,
        after=after,
        gain=contrast.difference,
        low=contrast.low,
        high=contrast.high,
        detectable_effect=contrast.detectable_effect,
        answer=contrast.answer,
    )


def _contrasts(analysis: SweepAnalysis, decision: _Decision) -> list[SweepContrast]:
    """The primary contrast, the judged images against all other arms, and the gain of images over other controls."""
    judged = Cell(judged_arm(), decision.shown)
    if not analysis.has(judged):
        return []
    found = [analysis.contrast(judged, Cell(BASELINE, 0.0), primary=analysis.split == "test")]
    if decision.control.name != BASELINE.name:
        found.append(analysis.contrast(judged, Cell(decision.control, 0.0)))
    beside = [Cell(arm, decision.shown) for arm in analysis.arms if arm.level == "ratio"]
    beside = [cell for cell in beside if analysis.has(cell) and cell != judged]
    found += [analysis.contrast(judged, cell) for cell in beside if cell.arm.control == BASELINE.name]
    for cell in beside:
        control = cell.arm.control
        if control != BASELINE.name and control in analysis.arms and cell.arm.source:
            twin = repeating_arm(analysis.arms, cell.arm)
            against = [Cell(analysis.arms[control], 0.0), *([Cell(twin, cell.ratio)] if twin else [])]
            found += [analysis.contrast(cell, other) for other in against if analysis.has(other)]
    return found
