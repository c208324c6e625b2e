"""The sweep's trials as one array of predictions, after a check that they are comparable.

This module knows nothing about scores, intervals, torch, Ray or files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from flowerti.artifacts.records import Trial
from flowerti.sweep.rounds import Cell
from flowerti.tables import Table
from flowerti.tables.arms import BASELINE, Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialGrid:
    """Predictions of one split, the baseline first, then the other arms at 0, then by arm and ratio."""

    split: str
    cells: list[Cell]
    predictions: Int64[np.ndarray, "cells repetitions num"]


def grid_of(trials: Sequence[Trial], arms: Table[Arm], num_images: int, num_classes: int) -> TrialGrid:
    """Check that the trials of a split are comparable, and stack their predictions.

    Args:
        trials: in any order.
        arms: definitions of the trials' arms.
        num_images: images of the split.
        num_classes: classes that a prediction may name.

    Raises:
        ValueError: no trials, several splits, the baseline missing, an unknown arm, a cell twice, repetitions that
            differ between arms, a wrong number of predictions, NaN, or class ids out of range.
    """
    _check_trials(trials)
    by_cell = {(trial.arm, trial.ratio, trial.repetition): trial for trial in trials}
    if len(by_cell) != len(trials):
        raise ValueError("trials: one arm, ratio and repetition is there twice")
    repetitions = sorted({trial.repetition for trial in trials})
    found = {(trial.arm, trial.ratio) for trial in trials}
    cells = [Cell(arms[name], ratio) for name, ratio in sorted(found, key=_place)]
    for arm, ratio in cells:
        missing = [index for index in repetitions if (arm.name, ratio, index) not in by_cell]
        if missing:
            raise ValueError(
                f"trials: {arm.name} at ratio {ratio:g} lacks repetitions {missing}; "
                "gains are paired, so every arm needs the same ones"
            )
    rows = [
        [_predictions(by_cell[c.arm.name, c.ratio, r], num_images, num_classes) for r in repetitions] for c in cells
    ]
    return TrialGrid(split=trials[0].split, cells=cells, predictions=np.array(rows))


def _place(cell: tuple[str, float]) -> tuple[bool, bool, str, float]:
    """Sort key of the cells."""
    name, ratio = cell
    return name != BASELINE.name, ratio > 0, name, ratio


def _check_trials(trials: Sequence[Trial]) -> None:
    if not trials:
        raise ValueError("trials: none given; run the sweep first")
    splits = sorted({trial.split for trial in trials})
    if len(splits) > 1:
        raise ValueError(f"trials: of splits {splits}; summarise one split at a time")
    if not all(np.isfinite(trial.ratio) for trial in trials):
        raise ValueError("trials: a ratio is NaN or infinite")
    if len({trial.ratio for trial in trials if trial.arm == BASELINE.name}) != 1:
        raise ValueError(f"trials: arm {BASELINE.name!r}, the baseline, must be there at exactly one ratio")


def _predictions(trial: Trial, num_images: int, num_classes: int) -> Int64[np.ndarray, " num"]:
    where = f"trial {trial.arm} at ratio {trial.ratio:g}, repetition {trial.repetition}"
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
