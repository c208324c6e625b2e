"""Shares of predicted classes, counted by hand."""

from types import SimpleNamespace

import numpy as np
from finished_run import classifier

from flowerti.report.confusions import confusions_of, first_confusion


def predictions():
    trials = [
        SimpleNamespace(arm="real", ratio=0.0, predictions=[0, 1, 2, 2]),
        SimpleNamespace(arm="real", ratio=0.0, predictions=[0, 0, 2, 1]),
        SimpleNamespace(arm="token", ratio=2.0, predictions=[0, 0, 2, 2]),
    ]
    question = SimpleNamespace(class_names=("rose", "lily", "iris"), weak_ids=[0])
    true_ids = {"test": np.array([0, 0, 2, 2])}
    return SimpleNamespace(true_ids=true_ids, question=question, of=lambda split: trials if split == "test" else [])


def test_shares_are_means_over_repetitions_in_the_columns_of_the_first_arm():
    before, after = confusions_of(predictions(), [("real", 0.0), ("token", 2.0), ("token", 2.0), ("gone", 1.0)])
    assert (before.rows, before.columns, before.split) == (["rose"], ["rose", "lily"], "test")
    assert before.shares == [[0.75, 0.25]]
    assert (after.arm, after.ratio, after.shares) == ("token", 2.0, [[1.0, 0.0]])


def test_the_first_classifier_stands_in_with_its_counts():
    names = ["rose", "lily", "iris"]
    report = classifier(names)
    (table,) = first_confusion(report, ["lily"])
    counts = np.array(report.confusion)[1]
    assert table.columns[0] == "lily"
    assert table.shares[0][0] == round(counts[1] / counts.sum(), 4)
    assert first_confusion(report, []) == []
