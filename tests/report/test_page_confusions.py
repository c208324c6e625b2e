"""Shares of predicted classes, counted by hand."""

import numpy as np
from finished_run import classifier

from flowerti.artifacts.records import Trial
from flowerti.config.experiment import SweepConfig
from flowerti.report.confusions import confusions_of, first_confusion
from flowerti.sweep.predictions import Predictions
from flowerti.sweep.question import SweepQuestion


def trial(arm, ratio, repetition, split, predictions):
    return Trial(
        arm=arm, ratio=ratio, repetition=repetition, split=split, predictions=predictions, num_steps=1, num_synthetic=0
    )


def predictions():
    """Each arm once on validation, where its learning rate is chosen, and on test as said."""
    trials = [
        trial("real", 0.0, 0, "validation", [0, 1, 2]),
        trial("token", 2.0, 0, "validation", [0, 1, 2]),
        trial("real", 0.0, 0, "test", [0, 1, 2, 2]),
        trial("real", 0.0, 1, "test", [0, 0, 2, 1]),
        trial("token", 2.0, 0, "test", [0, 0, 2, 2]),
    ]
    question = SweepQuestion(
        config=SweepConfig(), class_names=("rose", "lily", "iris"), weak_ids=[0], num_train=[], pools={}, run_seed=0
    )
    true_ids = {"validation": np.array([0, 1, 2]), "test": np.array([0, 0, 2, 2])}
    return Predictions(question=question, true_ids=true_ids, trials=trials)


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
