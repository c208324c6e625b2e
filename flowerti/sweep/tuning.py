"""Chooses each arm's learning rate on validation: every arm at the same few rates, before any arm is compared.

An arm that is trained too slowly looks worse than it is, and the baseline most of all: it is shown the fewest images of
a weak class. This module does not know how a trial is trained.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from flowerti.artifacts.records import Trial
from flowerti.sweep.bootstrap import resampled_f1
from flowerti.sweep.class_groups import REST, WEAK, class_groups
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.repetitions import repetitions_of
from flowerti.sweep.rounds import Cell, TrialPlan, plan_trials


def tuning_trials(cells: Sequence[Cell], question: SweepQuestion) -> list[TrialPlan]:
    """The first repetition of every cell at every rate; none where there is one rate to choose from."""
    factors = question.config.learning_rate_factors
    if len(factors) == 1:
        return []
    first, names = repetitions_of(question.replication)[:1], {cell.arm.name for cell in cells}
    return [
        plan for factor in factors for plan in plan_trials(cells, first, "validation", dict.fromkeys(names, factor))
    ]


def choose_factors(
    trials: Sequence[Trial], true_ids: Int64[np.ndarray, " num"], question: SweepQuestion
) -> dict[str, float]:
    """The factor of the learning rate for each arm that has trials.

    Over all levels of an arm, the one with the highest mean F1 of the weak classes, among those at which the mean F1
    of the others is within `max_rest_drop` of its highest; the smaller of two that do as well. A factor at which a
    trial failed is left out; an arm without any keeps the first one of the config.

    Args:
        trials: those of `tuning_trials` that came to their end.
        true_ids: true class of each validation image.
        question: classes, factors and `max_rest_drop`.

    Returns:
        By the arm's name.
    """
    config, scores = question.config, _scores(trials, true_ids, question)
    levels: dict[str, set[float]] = {}
    for arm, ratio, _ in scores:
        levels.setdefault(arm, set()).add(ratio)
    chosen = {}
    for arm, ratios in levels.items():
        places = {f: [(arm, ratio, f) for ratio in sorted(ratios)] for f in sorted(config.learning_rate_factors)}
        means = {
            f: np.mean([scores[place] for place in found], axis=0)
            for f, found in places.items()
            if all(place in scores for place in found)
        }
        chosen[arm] = _best(means, config.max_rest_drop) if means else config.learning_rate_factors[0]
    return chosen


def _best(means: dict[float, Float64[np.ndarray, " 2"]], max_rest_drop: float) -> float:
    """The factor with the highest weak F1 whose rest F1 is near the highest; of equal ones the first."""
    highest = max(rest for _, rest in means.values())
    kept = [factor for factor, (_, rest) in means.items() if rest >= highest - max_rest_drop]
    return max(kept, key=lambda factor: means[factor][0])


def _scores(
    trials: Sequence[Trial], true_ids: Int64[np.ndarray, " num"], question: SweepQuestion
) -> dict[tuple[str, float, float], Float64[np.ndarray, " 2"]]:
    """Mean F1 of the weak classes and of the rest, by arm, level and factor."""
    if not trials:
        return {}
    weights = class_groups(question, true_ids).weights[[WEAK, REST]]
    once = np.ones((1, 1), dtype=np.int64), np.ones((len(true_ids), 1), dtype=np.float32)
    guesses = np.array([trial.predictions for trial in trials])[:, None]
    found = resampled_f1(guesses, true_ids, weights, *once).units[:, :, 0].T
    keys = [(trial.arm, trial.ratio, trial.learning_rate_factor) for trial in trials]
    return dict(zip(keys, found, strict=True))
