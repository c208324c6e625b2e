"""A small sweep of drawn guesses, and its F1, means and replicates counted by hand."""

import numpy as np

from flowerti.artifacts.records import Trial
from flowerti.config.experiment import ReplicationConfig, SweepConfig
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.rounds import Cell
from flowerti.sweep.statistics import SweepAnalysis
from flowerti.tables import Table
from flowerti.tables.arms import ARMS, source_arms

CONFIG = SweepConfig(num_bootstrap=100)
EVERY_ARM = Table("arm of this sweep", [*ARMS, *source_arms()])
NUM_CLASSES, WEAK = 4, [1, 3]
TRUE_IDS = np.repeat(np.arange(NUM_CLASSES), [3, 4, 2, 5])


def cell(name, ratio=0.0):
    return Cell(EVERY_ARM[name], ratio)


def make_trial(arm, ratio, repetition, predictions, split="validation"):
    return Trial(
        arm=arm,
        ratio=ratio,
        repetition=repetition,
        split=split,
        predictions=[int(p) for p in predictions],
        num_steps=10,
        num_synthetic=0,
    )


def draw_guesses(rng, true_ids, accuracy, num_classes=NUM_CLASSES):
    wrong = rng.integers(0, num_classes, len(true_ids))
    return np.where(rng.random(len(true_ids)) < accuracy, true_ids, wrong)


def small_sweep(num_repetitions=3):
    rng = np.random.default_rng(0)
    arms = {("token", 2.0): 0.8, ("real", 0.0): 0.5, ("token", 0.5): 0.6, ("balanced", 0.0): 0.5}
    return [
        make_trial(arm, ratio, seed, draw_guesses(rng, TRUE_IDS, accuracy))
        for (arm, ratio), accuracy in arms.items()
        for seed in range(num_repetitions)
    ]


def loop_f1(true_ids, predicted, class_id):
    pairs = list(zip(true_ids.tolist(), predicted.tolist(), strict=True))
    hits = sum(t == class_id == p for t, p in pairs)
    wrong = sum((t == class_id) != (p == class_id) for t, p in pairs)
    return 0.0 if hits == wrong == 0 else hits / (hits + wrong / 2)


def loop_means(true_ids, predicted):
    """Macro, weak and rest F1 of one set of predictions."""
    f1 = [loop_f1(true_ids, predicted, c) for c in range(NUM_CLASSES)]
    weak = [f1[c] for c in WEAK]
    rest = [f1[c] for c in range(NUM_CLASSES) if c not in WEAK]
    return [sum(values) / len(values) for values in (f1, weak, rest)]


def explicit_replicate(trials, seed_count, image_count):
    """Repeat seeds and images as often as drawn, and average over what is there."""
    images = np.repeat(np.arange(len(TRUE_IDS)), image_count.astype(int))
    means = []
    for seed in np.repeat(np.arange(len(trials)), seed_count):
        predicted = np.array(trials[seed].predictions)
        means.append(loop_means(TRUE_IDS[images], predicted[images]))
    return np.mean(means, axis=0)


def trials_of(trials, arm, ratio):
    return [t for t in trials if (t.arm, t.ratio) == (arm, ratio)]


def row_of(rows, arm, ratio):
    (found,) = [row for row in rows if (row.arm, row.ratio) == (arm, ratio)]
    return found


NAMES = ("a", "b", "c", "d")


def analyse(trials, true_ids=TRUE_IDS, weak_ids=WEAK, config=CONFIG, seed=0, num_train=(), replication=None):
    num_repetitions = max(1, len({trial.repetition for trial in trials}))
    question = SweepQuestion(
        config=config,
        class_names=NAMES,
        weak_ids=weak_ids,
        num_train=list(num_train),
        pools={},
        run_seed=seed,
        replication=replication or ReplicationConfig(num_learnings=1, num_seeds=num_repetitions),
    )
    return SweepAnalysis(trials, EVERY_ARM, true_ids, question)


def summarise(trials, seed=0):
    return analyse(trials, seed=seed).rows()
