"""Which classes the images of weak classes are taken for, before and after: from the sweep's predictions.

This module does not know how a trial is trained or what a page looks like.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from flowerti.artifacts.page_record import Confusion
from flowerti.artifacts.records import ClassifierReport
from flowerti.sweep.predictions import Predictions

MAX_COLUMNS = 10
"""Predicted classes in a table; there are at least as many as true ones."""

Shares = Float64[np.ndarray, "true predicted"]


def confusions_of(predictions: Predictions, cells: Sequence[tuple[str, float]]) -> list[Confusion]:
    """The weak classes' images under some arms at some ratios, on test where it was opened, else on validation.

    All tables have the same classes. An arm that has no trial is left out.

    Args:
        predictions: of all trials.
        cells: arms with their ratios; the first says which classes are shown.
    """
    split = "test" if "test" in predictions.true_ids and predictions.of("test") else "validation"
    true_ids, question = predictions.true_ids[split], predictions.question
    trials = predictions.of(split)
    found = {}
    for arm, ratio in dict.fromkeys(cells):
        of_cell = [np.array(t.predictions) for t in trials if (t.arm, t.ratio) == (arm, ratio)]
        if of_cell:
            shares = np.mean([_shares(true_ids, one, len(question.class_names)) for one in of_cell], axis=0)
            found[arm, ratio] = shares
    if not found:
        return []
    columns = _columns(next(iter(found.values())), question.weak_ids)
    return [
        _table(shares, question.class_names, question.weak_ids, columns, arm=arm, ratio=ratio, split=split)
        for (arm, ratio), shares in found.items()
    ]


def first_confusion(classifier: ClassifierReport, weak: Sequence[str]) -> list[Confusion]:
    """The same of the first classifier on validation; nothing where it left no counts."""
    names = [score.class_name for score in classifier.classes]
    rows = [names.index(name) for name in weak if name in names]
    if not classifier.confusion or not rows:
        return []
    counts = np.asarray(classifier.confusion, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [_table(shares, names, rows, _columns(shares, rows), arm="", ratio=0.0, split="validation")]


def _shares(true_ids: Int64[np.ndarray, " num"], predicted: Int64[np.ndarray, " num"], num_classes: int) -> Shares:
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (true_ids, predicted), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _columns(shares: Shares, rows: Sequence[int]) -> list[int]:
    """The rows' own classes, then those that their images are most often taken for."""
    taken = shares[list(rows)].sum(axis=0)
    others = [i for i in np.argsort(-taken, kind="stable").tolist() if i not in rows and taken[i] > 0]
    return [*rows, *others][: max(MAX_COLUMNS, len(rows))]


def _table(
    shares: Shares, names: Sequence[str], rows: Sequence[int], columns: Sequence[int], **labels: str | float
) -> Confusion:
    return Confusion(
        arm=str(labels["arm"]),
        ratio=float(labels["ratio"]),
        split=str(labels["split"]),
        rows=[names[i] for i in rows],
        columns=[names[i] for i in columns],
        shares=[[round(float(shares[row, column]), 4) for column in columns] for row in rows],
    )
