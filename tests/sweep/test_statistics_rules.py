"""What sweep statistics must not depend on, must tell apart, and must refuse."""

import dataclasses

import numpy as np
import pytest
from small_sweep import (
    NUM_CLASSES,
    TRUE_IDS,
    WEAK,
    analyse,
    draw_guesses,
    make_trial,
    row_of,
    small_sweep,
    summarise,
)


def test_rows_do_not_depend_on_the_order_of_trials():
    trials = small_sweep()
    rows = summarise(trials)
    assert [(row.arm, row.ratio) for row in rows] == [
        ("real", 0.0),
        ("balanced", 0.0),
        ("token", 0.5),
        ("token", 2.0),
    ]
    assert summarise(trials[::-1]) == rows
    assert summarise(trials, seed=1) != rows


def test_an_arm_that_predicts_what_real_does_has_no_gain():
    real = [t for t in small_sweep() if t.arm == "real"]
    copies = [dataclasses.replace(t, arm="token", ratio=1.0) for t in real]
    for row in summarise(real + copies):
        assert (row.weak_gain, row.weak_gain_p, row.rest_gain) == (0, 1.0, 0)
        # the next image might have told them apart; a thing and itself it cannot
        assert (row.weak_gain_low < 0) == (row.arm == "token")
        assert row.weak_gain_high == -row.weak_gain_low


def test_gains_of_the_rest_do_not_pass_for_gains_of_the_weak():
    hopeless = np.where(np.isin(TRUE_IDS, WEAK), TRUE_IDS, 2 - TRUE_IDS)  # swaps classes 0 and 2
    trials = [make_trial("real", 0.0, s, hopeless) for s in range(2)]
    trials += [make_trial("token", 1.0, s, TRUE_IDS) for s in range(2)]
    row = row_of(summarise(trials), "token", 1.0)
    assert (row.weak_gain, row.weak_gain_p, row.rest_gain) == (0.0, 1.0, 1.0)


def test_the_largest_gain_has_the_smallest_p_value():
    trials = [make_trial("real", 0.0, s, (TRUE_IDS + 1) % NUM_CLASSES) for s in range(2)]
    trials += [make_trial("token", 1.0, s, TRUE_IDS) for s in range(2)]
    row = row_of(summarise(trials), "token", 1.0)
    assert (row.weak_gain, row.weak_gain_high) == (1, 1)
    assert row.weak_gain_low > 0
    # all images point one way: also those of other classes, which were taken for weak ones
    assert 0.5**14 <= row.weak_gain_p < 0.01


def test_pairing_narrows_the_interval_of_a_gain():
    rng = np.random.default_rng(3)
    true_ids = np.repeat(np.arange(NUM_CLASSES), 30)
    trials = []
    for seed in range(3):
        guesses = draw_guesses(rng, true_ids, 0.5)
        mended = np.where(np.arange(len(true_ids)) % 29 == 0, true_ids, guesses)
        trials += [make_trial("real", 0.0, seed, guesses), make_trial("token", 1.0, seed, mended)]
    row = row_of(analyse(trials, true_ids).rows(), "token", 1.0)
    width = row.weak_f1_high - row.weak_f1_low
    assert row.weak_gain_high - row.weak_gain_low < width / 2


def _broken(kind):
    trials = small_sweep()
    first = trials[0]
    changes = {
        "none": lambda: [],
        "no real": lambda: [t for t in trials if t.arm != "real"],
        "real twice": lambda: [*trials, make_trial("real", 1.0, 0, TRUE_IDS)],
        "seed missing": lambda: trials[1:],
        "twice": lambda: [*trials, first],
        "split": lambda: [dataclasses.replace(first, split="test"), *trials[1:]],
        "short": lambda: [dataclasses.replace(first, predictions=[0]), *trials[1:]],
        "nan": lambda: [_with_prediction(first, float("nan")), *trials[1:]],
        "range": lambda: [_with_prediction(first, NUM_CLASSES), *trials[1:]],
        "negative": lambda: [_with_prediction(first, -1), *trials[1:]],
        "fraction": lambda: [_with_prediction(first, 0.5), *trials[1:]],
        "nan ratio": lambda: [dataclasses.replace(first, ratio=float("nan")), *trials[1:]],
    }
    return changes[kind]()


def _with_prediction(trial, value):
    # Set afterwards: beartype, which looks at a random item of the list, would sometimes refuse the record itself.
    changed = dataclasses.replace(trial, predictions=list(trial.predictions))
    changed.predictions[0] = value
    return changed


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("none", "none given"),
        ("no real", "'real', the baseline"),
        ("real twice", "exactly one ratio"),
        ("seed missing", r"token at ratio 2 lacks repetitions \[0\]"),
        ("twice", "twice"),
        ("split", r"\['test', 'validation'\]"),
        ("short", "token at ratio 2, repetition 0: 1 predictions for 14 images"),
        ("nan", "token at ratio 2, repetition 0: .*NaN"),
        ("range", "no class id in"),
        ("negative", "no class id in"),
        ("fraction", "no class id in"),
        ("nan ratio", "ratio is NaN"),
    ],
)
def test_unfit_trials_are_refused(kind, message):
    with pytest.raises(ValueError, match=message):
        summarise(_broken(kind))


@pytest.mark.parametrize("weak_ids", [[], [0, 1, 2, 3], [4], [-1]])
def test_unfit_weak_classes_are_refused(weak_ids):
    with pytest.raises(ValueError, match=r"^weak_ids: "):
        analyse(small_sweep(), weak_ids=weak_ids)
