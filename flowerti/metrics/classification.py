"""Scores of predictions: F1 of each class, and the interval of a share.

It does not know what predicted.
"""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int


def f1_scores(
    true_ids: Int[np.ndarray, " num"],
    predicted_ids: Int[np.ndarray, "*trials num"],
    num_classes: int,
) -> Float64[np.ndarray, "*trials classes"]:
    """F1 of each class, 2 TP / (true + predicted), for one or more predictions of the pictures.

    Args:
        true_ids: class id of each picture, in [0, num_classes).
        predicted_ids: predicted class ids; the last axis runs over the pictures.
        num_classes: classes in all.

    Returns:
        F1 in [0, 1]; 0 for a class that is neither present nor predicted.

    Raises:
        ValueError: a class id lies outside [0, num_classes), or the numbers of pictures differ.
    """
    if predicted_ids.shape[-1:] != true_ids.shape:
        raise ValueError(f"predicted_ids: {predicted_ids.shape[-1]} predictions for {len(true_ids)} pictures")
    for name, ids in (("true_ids", true_ids), ("predicted_ids", predicted_ids)):
        if ids.size and (ids.min() < 0 or ids.max() >= num_classes):
            raise ValueError(f"{name}: holds a class id outside [0, {num_classes})")
    trials = predicted_ids.shape[:-1]
    flat = predicted_ids.reshape(-1, len(true_ids))
    cells = flat + num_classes * np.arange(len(flat))[:, None]
    size = num_classes * len(flat)
    predicted = np.bincount(cells.ravel(), minlength=size).reshape(-1, num_classes)
    hits = np.bincount(cells[flat == true_ids], minlength=size).reshape(-1, num_classes)
    total = predicted + np.bincount(true_ids, minlength=num_classes)
    f1 = np.divide(2.0 * hits, total, out=np.zeros(total.shape), where=total > 0)
    return f1.reshape(*trials, num_classes)


def wilson_interval(num_hits: int, num: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share (Wilson 1927, JASA 22).

    Args:
        num_hits: hits, at most `num`.
        num: trials, at least 1.
        level: coverage, in (0, 1).

    Raises:
        ValueError: there are no trials, or hits outside [0, num].
    """
    from statsmodels.stats.proportion import proportion_confint

    if num < 1 or not 0 <= num_hits <= num:
        raise ValueError(
            f"num_hits: {num_hits} of {num}; a share needs at least one trial and no more hits than trials"
        )
    bounds: Any = proportion_confint(num_hits, num, alpha=1 - level, method="wilson")
    return float(bounds[0]), float(bounds[1])
