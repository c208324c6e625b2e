"""The order of the sweep: everything is decided on validation, then test is opened once.

Rounds: the arms on validation; the arm on top of the best free control, on validation; the recommendation; the final
trials on test. Training is handed in as a function, so that the order can be tested without a cluster. This module
does not know about Ray, files, or how a trial is trained.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from flowerti.artifacts.records import SweepRow, SweepTable, Trial
from flowerti.artifacts.sweep import SweepContrast, SweepIntent
from flowerti.config.experiment import SweepConfig
from flowerti.data.dataset import Split
from flowerti.sweep.mixing import REPEATED_ARM, REPLACING_ARM, SHUFFLED_ARM, planned_arms, stacked_arm
from flowerti.sweep.recommendation import best_control, recommend, recommend_classes, warn
from flowerti.sweep.statistics import SweepAnalysis
from flowerti.sweep.trial import TrialPlan, plan_trials

PRIMARY_CONTRAST = (
    "Mean F1 of the weak classes on test: arm token at the ratio that validation chooses (where it chooses none, at "
    "the ratio with the largest gain there), minus arm real at equal optimiser steps, paired by seed and image."
)
"""Fixed before any run."""

Train = Callable[[list[TrialPlan]], tuple[list[Trial], list[str]]]
"""Runs trials; gives back those of complete arms, and one sentence for each failure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepQuestion:
    """What the sweep asks, besides the images."""

    config: SweepConfig
    class_names: tuple[str, ...]
    weak_ids: list[int]
    num_train: list[int]
    """Real training images of each class."""
    pools: Mapping[str, int]
    """Weak classes that have images, by source."""
    run_seed: int


def intent(question: SweepQuestion) -> SweepIntent:
    """What is written down before the first trial."""
    config, arms = question.config, planned_arms(question.config, dict(question.pools))
    names = list(dict.fromkeys(arm for arm, _ in arms))
    if config.on_best_control and question.pools.get("token"):
        names.append(stacked_arm("<best control>"))
    return SweepIntent(
        primary_contrast=PRIMARY_CONTRAST,
        num_trials_validation=len(arms) * config.num_seeds,
        arms=names,
        ratios=sorted(config.ratios),
        num_seeds=config.num_seeds,
    )


def run_sweep(
    question: SweepQuestion, true_ids: Callable[[Split], Int64[np.ndarray, " num"]], train: Train
) -> SweepTable:
    """Run all rounds.

    Args:
        question: arms, classes and seeds.
        true_ids: true classes of a split; asked for the test split only when its trials are done.
        train: runs trials.

    Raises:
        ValueError: trials do not fit together; as `SweepAnalysis`.
    """
    config = question.config
    arms = planned_arms(config, dict(question.pools))
    trials, failures = train(plan_trials(arms, config.num_seeds, "validation"))
    validation = _analyse(question, trials, true_ids("validation"))
    control = best_control(validation.rows(), config)
    if _stacks(question, control):
        stacked = [(stacked_arm(control), ratio) for ratio in sorted(config.ratios)]
        more, more_failures = train(plan_trials(stacked, config.num_seeds, "validation"))
        arms, trials, failures = arms + stacked, trials + more, failures + more_failures
        validation = _analyse(question, trials, true_ids("validation"))
    rows, class_rows = validation.rows(), validation.class_rows()
    ratio, recommendation = recommend(rows, config)
    shown = ratio or _largest_gain(rows)
    contrasts = _contrasts(validation, control, shown)
    final, final_failures = train(plan_trials(final_arms(arms, shown), config.num_seeds, "test"))
    test = _analyse(question, final, true_ids("test"))
    return SweepTable(
        rows=rows + test.rows(),
        recommended_ratio=ratio,
        recommendation=recommendation,
        failures=failures + final_failures,
        primary_contrast=PRIMARY_CONTRAST,
        best_control=control,
        warnings=[*warn(ratio, contrasts), *_of_adapters(rows, config)],
        class_ratios=recommend_classes(class_rows, rows, config),
        contrasts=contrasts + _contrasts(test, control, shown),
        classes=class_rows + test.class_rows(),
        groups=validation.group_rows() + test.group_rows(),
    )


def final_arms(arms: Sequence[tuple[str, float]], ratio: float) -> list[tuple[str, float]]:
    """The arms that open the test split: those without a ratio, and all others at the one ratio.

    The replacing arm's probabilities are no ratios, so all of them are run.
    """
    return [(arm, own) for arm, own in arms if own in (0.0, ratio) or arm == REPLACING_ARM]


def _stacks(question: SweepQuestion, control: str) -> bool:
    return question.config.on_best_control and control != "real" and bool(question.pools.get("token"))


def _of_adapters(rows: Sequence[SweepRow], config: SweepConfig) -> list[str]:
    """What the rule says of the adapters' images: told, but no part of the recommendation, which is the token's."""
    if not any(row.arm == "lora" for row in rows):
        return []
    return [f"The same rule for images of the tokens' adapters (arm lora): {recommend(rows, config, 'lora')[1]}"]


def _largest_gain(rows: Sequence[SweepRow]) -> float:
    """The token's best ratio, so that a refusal can be checked on test too; 0 where there is no such arm."""
    tokens = [row for row in rows if row.arm == "token"]
    return max(tokens, key=lambda row: row.weak_gain).ratio if tokens else 0.0


def _analyse(question: SweepQuestion, trials: list[Trial], true_ids: Int64[np.ndarray, " num"]) -> SweepAnalysis:
    return SweepAnalysis(
        trials,
        true_ids,
        question.class_names,
        question.weak_ids,
        question.config,
        question.run_seed,
        question.num_train,
    )


def _contrasts(analysis: SweepAnalysis, control: str, ratio: float) -> list[SweepContrast]:
    """The primary contrast, the token's images against everything else, and what they add to the best control."""
    if not analysis.has("token", ratio):
        return []
    found = [analysis.contrast("token", ratio, "real", primary=analysis.split == "test")]
    if control != "real":
        found.append(analysis.contrast("token", ratio, control))
    for arm in (REPEATED_ARM, "raw", "alternative_name", "latin_name", "lora", SHUFFLED_ARM):
        if analysis.has(arm, ratio):
            found.append(analysis.contrast("token", ratio, arm, ratio))
    if analysis.has(stacked_arm(control), ratio):
        found.append(analysis.contrast(stacked_arm(control), ratio, control))
    return found
