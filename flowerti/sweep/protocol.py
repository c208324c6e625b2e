"""The protocol of the sweep: all decisions are made on validation, then the test split is used once.

Rounds: controls on validation, each first at the few learning rates from which its own is chosen; in the same way the
images of all sources on top of the best control; the recommendation; the final trials on test. Training is passed in
as a function, so that the protocol can be tested without a cluster. This module does not know about Ray, files, or how
a trial is trained.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from flowerti.artifacts.records import SweepRow, SweepTable, Trial
from flowerti.artifacts.sweep import SweepContrast, SweepIntent, Verdict
from flowerti.config.experiment import SweepConfig
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
from flowerti.sweep.repetitions import repetitions_of
from flowerti.sweep.rounds import (
    Cell,
    TrialPlan,
    arms_of,
    final_round,
    first_round,
    plan_trials,
    planned_arms,
    reference_cell,
    second_round,
)
from flowerti.sweep.statistics import SweepAnalysis
from flowerti.sweep.tuning import choose_factors, tuning_trials
from flowerti.sweep.variance import replication_of
from flowerti.tables import Table
from flowerti.tables.arms import BASELINE, Arm, judged_arm
from flowerti.tables.sources import judged_source

Train = Callable[[list[TrialPlan]], tuple[list[Trial], list[str]]]
"""Runs trials; returns those of complete arms, and one sentence per failure."""
RULE = "Holm over levels of the larger p of gain and content, and a loss of the rest shown to be small"
"""Name of what `recommendation.recommend` does; changed with it, so that a run begun under another rule tells so."""
_NOT_IN_SETTINGS = ("ratios", "max_rest_drop", "max_concurrent_trials")
"""Settings with a field of their own in the plan, and one that no number depends on."""


def primary_contrast(config: SweepConfig) -> str:
    """The primary contrast, which is fixed before the first trial."""
    chosen = "that validation chooses (where it chooses none, at the one with the largest gain there)"
    how = "at equal optimiser steps, paired by repetition and image."
    if config.judged_mass == "fixed":
        images = f"images of source {judged_source()} in place of real ones on top of the best control on validation"
        return f"Mean F1 of the weak classes on test: {images}, at the probability {chosen}, minus that control, {how}"
    arm = judged_arm().name
    return f"Mean F1 of the weak classes on test: arm {arm} at the ratio {chosen}, minus arm {BASELINE.name} {how}"


def intent(question: SweepQuestion) -> SweepIntent:
    """The plan as far as the question tells it; who runs the sweep adds what identifies data, images and classifier."""
    config, cells = question.config, first_round(question.config, question.pools)
    num_of_a_cell = question.replication.num_repetitions + len(config.learning_rate_factors) - 1
    return SweepIntent(
        primary_contrast=primary_contrast(config),
        arms=planned_arms(config, question.pools),
        ratios=sorted(config.ratios) if "added" in config.mixing else [],
        replication=dataclasses.asdict(question.replication),
        run_seed=question.run_seed,
        weak_classes=[question.class_names[class_id] for class_id in question.weak_ids],
        rule=RULE,
        alpha=SIGNIFICANCE,
        max_rest_drop=config.max_rest_drop,
        num_trials_validation=len(cells) * num_of_a_cell,
        settings={name: value for name, value in dataclasses.asdict(config).items() if name not in _NOT_IN_SETTINGS},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decision:
    """Decisions made on validation before the test split is used."""

    rows: list[SweepRow]
    """Rows of the validation split, which the decisions are based on."""
    ratio: float
    """The recommended level; 0 for none."""
    recommendation: str
    shown: Cell
    """The judged arm at the level evaluated on test: the recommended one, or else the one with the largest gain; at
    level 0 without a trial of it."""
    shown_beside: list[Cell]
    """The same for the other way of mixing, where it was run."""
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
    rounds = _Rounds(question=question, train=train)
    rounds.add(first_round(config, pools), true_ids("validation"))
    validation = rounds.analysis(true_ids("validation"))
    control = best_control(validation.rows(), validation.arms, config)
    more = second_round(config, pools, rounds.cells, control)
    if more:
        rounds.add(more, true_ids("validation"))
        validation = rounds.analysis(true_ids("validation"))
    decision = _decide(question, validation, control)
    final = rounds.final([decision.shown, *decision.shown_beside])
    test = SweepAnalysis(final, arms_of(rounds.cells), true_ids("test"), question)
    return dataclasses.replace(
        _table(question, decision, validation, test),
        failures=rounds.failures,
        learning_rate_factors=rounds.factors,
        replication=replication_of(question.replication, _shown_gains(decision, validation, test)),
    )


@dataclass(kw_only=True, slots=True)
class _Rounds:
    """The trials so far: what was trained, at which learning rates, and what failed."""

    question: SweepQuestion
    train: Train
    cells: list[Cell] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    """On validation, each at its arm's learning rate."""
    factors: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, cells: list[Cell], true_ids: Int64[np.ndarray, " num"]) -> None:
        """Choose the learning rates of some arms, and run all their repetitions on validation."""
        tuned = self._run(tuning_trials(cells, self.question))
        self.factors |= dict.fromkeys((c.arm.name for c in cells), self.question.config.learning_rate_factors[0])
        self.factors |= choose_factors(tuned, true_ids, self.question)
        self.cells += cells
        self.trials += self._run(self._plans(cells, "validation"))

    def final(self, shown: list[Cell]) -> list[Trial]:
        """Run the final trials on test."""
        return self._run(self._plans(final_round(self.cells, shown), "test"))

    def analysis(self, true_ids: Int64[np.ndarray, " num"]) -> SweepAnalysis:
        """The analysis of all trials on validation."""
        return SweepAnalysis(self.trials, arms_of(self.cells), true_ids, self.question)

    def _plans(self, cells: list[Cell], split: Split) -> list[TrialPlan]:
        return plan_trials(cells, repetitions_of(self.question.replication), split, self.factors)

    def _run(self, plans: list[TrialPlan]) -> list[Trial]:
        if not plans:
            return []
        trials, failures = self.train(plans)
        self.failures += failures
        return trials


def _shown_gains(
    decision: _Decision, validation: SweepAnalysis, test: SweepAnalysis
) -> tuple[str, Float64[np.ndarray, " repetitions"]] | None:
    """The split, and each repetition's gain of the judged images over real ones; None without their trials."""
    cell, against = decision.shown, _without(decision.shown, validation.arms)
    analysis = next((one for one in (test, validation) if one.has(cell)), None)
    return None if analysis is None else (analysis.split, analysis.gains(cell, against))


def _decide(question: SweepQuestion, validation: SweepAnalysis, control: Arm) -> _Decision:
    rows, config = validation.rows(), question.config
    judged, *beside = (judged_arm(mass, control) for mass in sorted(config.mixing, reverse=True))  # fixed before added
    ratio, recommendation = recommend(rows, validation.arms, config, judged)
    shown = Cell(judged, ratio or _largest_gain(rows, judged))
    return _Decision(
        rows=rows,
        ratio=ratio,
        recommendation=recommendation,
        shown=shown,
        shown_beside=[Cell(arm, _largest_gain(rows, arm)) for arm in beside],
        control=control,
        choice=choose_action(rows, validation.arms, config, shown, validation.contrast)
        if validation.has(shown)
        else None,
    )


def _largest_gain(rows: Sequence[SweepRow], judged: Arm) -> float:
    """The judged arm's level with the largest gain; 0 if the sweep lacks that arm."""
    own = [row for row in rows if row.arm == judged.name]
    return max(own, key=lambda row: row.weak_gain).ratio if own else 0.0


def _table(
    question: SweepQuestion,
    decision: _Decision,
    validation: SweepAnalysis,
    test: SweepAnalysis,
) -> SweepTable:
    config, arms, judged = question.config, validation.arms, decision.shown.arm
    rows, class_rows = decision.rows, validation.class_rows()
    contrasts = _contrasts(validation, decision)
    return SweepTable(
        rows=rows + test.rows(),
        recommended_ratio=decision.ratio,
        recommendation=decision.recommendation,
        failures=[],
        primary_contrast=primary_contrast(config),
        judged_arm=judged.name,
        best_control=decision.control.name,
        warnings=[*warn(decision.ratio, contrasts, arms, judged), *tell_of_others(rows, arms, config, judged)],
        class_ratios=recommend_classes(class_rows, rows, arms, config, judged),
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
    """The primary contrast, the judged images against what does without them, and the gain of images over controls."""
    judged, arms = decision.shown, analysis.arms
    primary = _without(judged, arms)
    alike = [Cell(arm, judged.ratio) for arm in arms if arm.mass == judged.arm.mass]
    beside = [cell for cell in alike if cell.arm.control == judged.arm.control]
    others = [primary, Cell(BASELINE, 0.0), Cell(decision.control, 0.0), *beside]
    pairs = [(judged, other) for other in others if other != judged]
    for shown in (judged, *decision.shown_beside):
        pairs += _pairs_on_controls(shown, arms)
    return [
        analysis.contrast(one, other, primary=analysis.split == "test" and (one, other) == (judged, primary))
        for one, other in dict.fromkeys(pairs)
        if analysis.has(judged) and analysis.has(one) and analysis.has(other)
    ]


def _without(shown: Cell, arms: Table[Arm]) -> Cell:
    """What the judged images' gain is measured from: the control that they are mixed into, or real images alone."""
    return Cell(arms[shown.arm.control], 0.0) if shown.arm.replaces else Cell(BASELINE, 0.0)


def _pairs_on_controls(shown: Cell, arms: Table[Arm]) -> list[tuple[Cell, Cell]]:
    """Images on top of a control, mixed in as the shown ones are, each with the control and with its reference."""
    pairs = []
    for arm in arms:
        if arm.mass == shown.arm.mass and arm.source and arm.control != BASELINE.name and arm.control in arms:
            cell = Cell(arm, shown.ratio)
            reference = reference_cell(arms, cell)
            pairs += [(cell, Cell(arms[arm.control], 0.0)), *([(cell, reference)] if reference else [])]
    return pairs
