"""The sweep's trials as one array of predictions, after checking that they can be compared.

This module knows nothing about scores, intervals, torch, Ray or files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from flowerti.artifacts.records import Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Predictions of one split, `real` first, then the other arms at ratio 0, then by arm and ratio."""

    split: str
    arms: list[tuple[str, float]]
    predictions: Int64[np.ndarray, "arms seeds num"]


def _predictions(trial: Trial, num_images: int, num_classes: int) -> Int64[np.ndarray, " num"]:
    where = f"trial {trial.arm} at ratio {trial.ratio:g}, seed {trial.seed_index}"
    if len(trial.predictions) != num_images:
        raise ValueError(
            f"{where}: {len(trial.predictions)} predictions for {num_images} images; run the trial again on this split"
        )
    values = np.asarray(trial.predictions, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: a prediction is NaN or infinite")
    ids = values.astype(np.int64)
    if (ids != values).any() or ids.min() < 0 or ids.max() >= num_classes:
        raise ValueError(f"{where}: a prediction is no class id in [0, {num_classes})")
    return ids


def _check_trials(trials: Sequence[Trial]) -> None:
    if not trials:
        raise ValueError("trials: none given; run the sweep first")
    splits = sorted({trial.split for trial in trials})
    if len(splits) > 1:
        raise ValueError(f"trials: of splits {splits}; summarise one split at a time")
    if not all(np.isfinite(trial.ratio) for trial in trials):
        raise ValueError("trials: a ratio is NaN or infinite")
    if len({trial.ratio for trial in trials if trial.arm == "real"}) != 1:
        raise ValueError("trials: arm 'real', the baseline, must be there at exactly one ratio")


def lay_out(trials: Sequence[Trial], num_images: int, num_classes: int) -> Layout:
    """Check that the trials of a split can be compared, and put their predictions in order.

    Raises:
        ValueError: no trials, several splits, `real` missing, a cell twice, seeds that differ between arms, a wrong
            number of predictions, NaN, or class ids out of range.
    """
    _check_trials(trials)
    by_cell = {(trial.arm, trial.ratio, trial.seed_index): trial for trial in trials}
    if len(by_cell) != len(trials):
        raise ValueError("trials: one arm, ratio and seed is there twice")
    seeds = sorted({trial.seed_index for trial in trials})
    cells = {(trial.arm, trial.ratio) for trial in trials}
    arms = sorted(cells, key=lambda cell: (cell[0] != "real", cell[1] > 0, *cell))
    for arm, ratio in arms:
        missing = [seed for seed in seeds if (arm, ratio, seed) not in by_cell]
        if missing:
            raise ValueError(
                f"trials: {arm} at ratio {ratio:g} lacks seeds {missing}; "
                "gains are paired, so every arm needs the same seeds"
            )
    rows = [[_predictions(by_cell[arm, ratio, s], num_images, num_classes) for s in seeds] for arm, ratio in arms]
    return Layout(split=trials[0].split, arms=arms, predictions=np.array(rows))
