"""Sweep statistics against hand counts, explicitly resampled arrays and simulation; the recommendation by hand."""

import dataclasses

import numpy as np
import pytest

from flowerti.artifacts import SweepRow, Trial, seed_for
from flowerti.config import SweepConfig
from flowerti.sweep_statistics import draw_resamples, recommend, resampled_f1, summarise

CONFIG = SweepConfig(num_bootstrap=100)
NUM_CLASSES, WEAK = 4, [1, 3]
TRUE_IDS = np.repeat(np.arange(NUM_CLASSES), [3, 4, 2, 5])


def _trial(arm, ratio, seed_index, predictions, split="validation"):
    return Trial(
        arm=arm,
        ratio=ratio,
        seed_index=seed_index,
        split=split,
        predictions=[int(p) for p in predictions],
        num_steps=10,
        num_synthetic=0,
    )


def _guesses(rng, true_ids, accuracy, num_classes=NUM_CLASSES):
    wrong = rng.integers(0, num_classes, len(true_ids))
    return np.where(rng.random(len(true_ids)) < accuracy, true_ids, wrong)


def _sweep(num_seeds=3):
    rng = np.random.default_rng(0)
    arms = {("token", 2.0): 0.8, ("real", 0.0): 0.5, ("token", 0.5): 0.6, ("balanced", 0.0): 0.5}
    return [
        _trial(arm, ratio, seed, _guesses(rng, TRUE_IDS, accuracy))
        for (arm, ratio), accuracy in arms.items()
        for seed in range(num_seeds)
    ]


def _loop_f1(true_ids, predicted, class_id):
    pairs = list(zip(true_ids.tolist(), predicted.tolist(), strict=True))
    hits = sum(t == class_id == p for t, p in pairs)
    wrong = sum((t == class_id) != (p == class_id) for t, p in pairs)
    return 0.0 if hits == wrong == 0 else hits / (hits + wrong / 2)


def _loop_means(true_ids, predicted):
    """Macro, weak and rest F1 of one set of predictions."""
    f1 = [_loop_f1(true_ids, predicted, c) for c in range(NUM_CLASSES)]
    weak = [f1[c] for c in WEAK]
    rest = [f1[c] for c in range(NUM_CLASSES) if c not in WEAK]
    return [sum(values) / len(values) for values in (f1, weak, rest)]


def _explicit_replicate(trials, seed_count, picture_count):
    """Repeat seeds and pictures as often as drawn, and average over what is there."""
    pictures = np.repeat(np.arange(len(TRUE_IDS)), picture_count.astype(int))
    means = []
    for seed in np.repeat(np.arange(len(trials)), seed_count):
        predicted = np.array(trials[seed].predictions)
        means.append(_loop_means(TRUE_IDS[pictures], predicted[pictures]))
    return np.mean(means, axis=0)


def _cell(trials, arm, ratio):
    return [t for t in trials if (t.arm, t.ratio) == (arm, ratio)]


def _row(rows, arm, ratio):
    (found,) = [row for row in rows if (row.arm, row.ratio) == (arm, ratio)]
    return found


def _summarise(trials, seed=0, config=CONFIG):
    return summarise(trials, TRUE_IDS, NUM_CLASSES, WEAK, config, seed)


def test_resampled_f1_is_that_of_explicitly_repeated_arrays():
    trials = _sweep()
    cells = [_cell(trials, "real", 0.0), _cell(trials, "token", 2.0)]
    predictions = np.array([[t.predictions for t in cell] for cell in cells])
    is_weak = np.isin(np.arange(NUM_CLASSES), WEAK)
    groups = np.stack([np.full(4, 0.25), is_weak / 2, ~is_weak / 2])
    seed_counts, picture_counts = draw_resamples(TRUE_IDS, 3, 25, np.random.default_rng(1))
    fast = resampled_f1(predictions, TRUE_IDS, groups, seed_counts, picture_counts)
    assert fast.shape == (3, 2, 25)
    for arm, cell in enumerate(cells):
        for b in range(25):
            slow = _explicit_replicate(cell, seed_counts[b], picture_counts[:, b])
            np.testing.assert_allclose(fast[:, arm, b], slow, atol=1e-12)


def test_a_replicate_keeps_the_number_of_seeds_and_the_pictures_of_each_class():
    seed_counts, picture_counts = draw_resamples(TRUE_IDS, 3, 4000, np.random.default_rng(2))
    assert set(seed_counts.sum(axis=1)) == {3}
    for class_id, size in enumerate([3, 4, 2, 5]):
        members = picture_counts[TRUE_IDS == class_id]
        assert set(members.sum(axis=0)) == {size}
        # Drawn with replacement, a picture's count is binomial(size, 1 / size).
        np.testing.assert_allclose(members.mean(axis=1), 1, atol=4 / np.sqrt(4000))
        np.testing.assert_allclose(members.var(axis=1), 1 - 1 / size, atol=0.15)


def test_means_and_gains_are_the_hand_counts():
    trials = _sweep()
    rows = _summarise(trials)
    real = np.mean([_loop_means(TRUE_IDS, np.array(t.predictions)) for t in trials[3:6]], axis=0)
    for row in rows:
        cell = _cell(trials, row.arm, row.ratio)
        macro, weak, rest = np.mean([_loop_means(TRUE_IDS, np.array(t.predictions)) for t in cell], axis=0)
        found = [row.macro_f1, row.weak_f1, row.rest_f1, row.weak_gain, row.rest_gain]
        np.testing.assert_allclose(found, [macro, weak, rest, weak - real[1], rest - real[2]])
        assert (row.split, row.num_seeds) == ("validation", 3)


def _loop_percentile(values, share):
    ordered, position = sorted(values), share * (len(values) - 1)
    low = int(position)
    return ordered[low] + (position - low) * (ordered[low + 1] - ordered[low])


def test_intervals_and_p_values_are_those_of_paired_explicit_resamples():
    trials = _sweep()
    rng = np.random.default_rng(seed_for(7, "", "bootstrap/validation", 0))
    seed_counts, picture_counts = draw_resamples(TRUE_IDS, 3, 100, rng)
    draws = {
        key: [
            _explicit_replicate(_cell(trials, *key), s, p) for s, p in zip(seed_counts, picture_counts.T, strict=True)
        ]
        for key in (("real", 0.0), ("token", 0.5), ("token", 2.0))
    }
    rows = _summarise(trials, seed=7)
    for key, values in draws.items():
        row = _row(rows, *key)
        gains = [v[1] - r[1] for v, r in zip(values, draws["real", 0.0], strict=True)]
        for name, sample in (
            ("macro_f1", [v[0] for v in values]),
            ("weak_f1", [v[1] for v in values]),
            ("weak_gain", gains),
        ):
            bounds = [getattr(row, f"{name}_low"), getattr(row, f"{name}_high")]
            expected = [_loop_percentile(sample, share) for share in (0.025, 0.975)]
            np.testing.assert_allclose(bounds, expected, atol=1e-12)
        assert row.weak_gain_p == (1 + sum(g <= 1e-9 for g in gains)) / 101


def test_rows_do_not_depend_on_the_order_of_trials():
    trials = _sweep()
    rows = _summarise(trials)
    assert [(row.arm, row.ratio) for row in rows] == [
        ("real", 0.0),
        ("balanced", 0.0),
        ("token", 0.5),
        ("token", 2.0),
    ]
    assert _summarise(trials[::-1]) == rows
    assert _summarise(trials, seed=1) != rows


def test_an_arm_that_predicts_what_real_does_has_no_gain():
    real = [t for t in _sweep() if t.arm == "real"]
    copies = [dataclasses.replace(t, arm="token", ratio=1.0) for t in real]
    for row in _summarise(real + copies):
        assert (row.weak_gain, row.weak_gain_low, row.weak_gain_high) == (0, 0, 0)
        assert (row.weak_gain_p, row.rest_gain) == (1.0, 0)


def test_gains_of_the_rest_do_not_pass_for_gains_of_the_weak():
    hopeless = np.where(np.isin(TRUE_IDS, WEAK), TRUE_IDS, 2 - TRUE_IDS)  # swaps classes 0 and 2
    trials = [_trial("real", 0.0, s, hopeless) for s in range(2)]
    trials += [_trial("token", 1.0, s, TRUE_IDS) for s in range(2)]
    row = _row(_summarise(trials), "token", 1.0)
    assert (row.weak_gain, row.weak_gain_p, row.rest_gain) == (0.0, 1.0, 1.0)


def test_the_largest_gain_has_the_smallest_p_value():
    trials = [_trial("real", 0.0, s, (TRUE_IDS + 1) % NUM_CLASSES) for s in range(2)]
    trials += [_trial("token", 1.0, s, TRUE_IDS) for s in range(2)]
    row = _row(_summarise(trials), "token", 1.0)
    assert (row.weak_gain_low, row.weak_gain, row.weak_gain_high) == (1, 1, 1)
    assert row.weak_gain_p == 1 / 101


def test_pairing_narrows_the_interval_of_a_gain():
    rng = np.random.default_rng(3)
    true_ids = np.repeat(np.arange(NUM_CLASSES), 30)
    trials = []
    for seed in range(3):
        guesses = _guesses(rng, true_ids, 0.5)
        mended = np.where(np.arange(len(true_ids)) % 29 == 0, true_ids, guesses)
        trials += [_trial("real", 0.0, seed, guesses), _trial("token", 1.0, seed, mended)]
    row = _row(summarise(trials, true_ids, NUM_CLASSES, WEAK, CONFIG, 0), "token", 1.0)
    width = row.weak_f1_high - row.weak_f1_low
    assert row.weak_gain_high - row.weak_gain_low < width / 2


@pytest.mark.slow
def test_intervals_cover_the_true_gain():
    true_ids = np.repeat(np.arange(NUM_CLASSES), 40)
    accuracies = {("real", 0.0): 0.5, ("token", 1.0): 0.65}

    def simulated(rng, ids, num_seeds):
        return [
            _trial(*key, seed, _guesses(rng, ids, accuracy))
            for key, accuracy in accuracies.items()
            for seed in range(num_seeds)
        ]

    large = np.repeat(np.arange(NUM_CLASSES), 20_000)
    many = simulated(np.random.default_rng(4), large, 1)
    truth = _row(summarise(many, large, NUM_CLASSES, WEAK, CONFIG, 0), "token", 1.0).weak_gain
    rng, covered = np.random.default_rng(5), 0
    config = SweepConfig(num_bootstrap=400)
    for _ in range(100):
        rows = summarise(simulated(rng, true_ids, 4), true_ids, NUM_CLASSES, WEAK, config, 0)
        row = _row(rows, "token", 1.0)
        covered += row.weak_gain_low <= truth <= row.weak_gain_high
        assert row.weak_gain_high - row.weak_gain_low < 0.4
    assert covered >= 88


def _broken(kind):
    trials = _sweep()
    first = trials[0]
    changes = {
        "none": lambda: [],
        "no real": lambda: [t for t in trials if t.arm != "real"],
        "real twice": lambda: [*trials, _trial("real", 1.0, 0, TRUE_IDS)],
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
        ("seed missing", r"token at ratio 2 lacks seeds \[0\]"),
        ("twice", "twice"),
        ("split", r"\['test', 'validation'\]"),
        ("short", "token at ratio 2, seed 0: 1 predictions for 14 pictures"),
        ("nan", "token at ratio 2, seed 0: .*NaN"),
        ("range", "no class id in"),
        ("negative", "no class id in"),
        ("fraction", "no class id in"),
        ("nan ratio", "ratio is NaN"),
    ],
)
def test_unfit_trials_are_refused(kind, message):
    with pytest.raises(ValueError, match=message):
        _summarise(_broken(kind))


@pytest.mark.parametrize("weak_ids", [[], [0, 1, 2, 3], [4], [-1]])
def test_unfit_weak_classes_are_refused(weak_ids):
    with pytest.raises(ValueError, match=r"^weak_ids: "):
        summarise(_sweep(), TRUE_IDS, NUM_CLASSES, weak_ids, CONFIG, 0)


def _made(arm, ratio, gain, p_value, rest_gain=0.0, split="validation"):
    return SweepRow(
        split=split,
        arm=arm,
        ratio=ratio,
        num_seeds=5,
        macro_f1=0.7,
        macro_f1_low=0.6,
        macro_f1_high=0.8,
        weak_f1=0.5 + gain,
        weak_f1_low=0.4 + gain,
        weak_f1_high=0.6 + gain,
        rest_f1=0.8 + rest_gain,
        weak_gain=gain,
        weak_gain_low=gain - 0.03,
        weak_gain_high=gain + 0.03,
        weak_gain_p=p_value,
        rest_gain=rest_gain,
    )


REAL = _made("real", 0.0, 0.0, 1.0)


def test_the_largest_significant_gain_is_recommended():
    rows = [
        REAL,
        _made("token", 0.5, 0.05, 0.001),
        _made("token", 1.0, 0.09, 0.002, rest_gain=-0.004),
        _made("token", 2.0, 0.15, 0.2),
    ]
    ratio, sentence = recommend(rows, CONFIG)
    assert ratio == 1.0
    # Holm: the second smallest of three p-values is multiplied by two.
    for part in ("Use 1 ", "+0.090", "+0.060 to +0.120", "p 0.004", "-0.004"):
        assert part in sentence
    assert "does as well" not in sentence


def test_holm_counts_the_ratios():
    rows = [REAL, *(_made("token", ratio, 0.1, 0.02) for ratio in (0.5, 1.0, 2.0))]
    ratio, sentence = recommend(rows, CONFIG)
    assert ratio == 0.0
    assert "beyond chance" in sentence
    assert "p 0.06" in sentence
    assert recommend(rows[:3], CONFIG)[0] == 0.5  # two ratios: 0.04


def test_a_ratio_that_harms_the_rest_is_refused():
    rows = [REAL, _made("token", 1.0, 0.05, 0.001), _made("token", 2.0, 0.2, 0.001, -0.02)]
    assert recommend(rows, CONFIG)[0] == 1.0
    assert recommend(rows, SweepConfig(max_rest_drop=0.03))[0] == 2.0
    ratio, sentence = recommend([REAL, rows[2]], CONFIG)
    assert ratio == 0.0
    assert "the others lose more than 0.01" in sentence
    assert "-0.020" in sentence


def test_controls_and_plain_prompts_that_do_as_well_are_named():
    chosen = _made("token", 2.0, 0.1, 0.001)
    rows = [
        REAL,
        chosen,
        _made("balanced", 0.0, 0.1, 0.001),
        _made("augmented", 0.0, 0.12, 0.001),
        _made("balanced_softmax", 0.0, 0.02, 0.4),
        _made("raw", 1.0, 0.11, 0.001),
    ]
    ratio, sentence = recommend(rows, CONFIG)
    assert ratio == 2.0
    assert "a free control does as well: augmented (weak F1 0.620 against 0.600)" in sentence
    assert "a prompt without token does as well: raw at ratio 1 (weak F1 0.610" in sentence
    weaker = [row for row in rows if row.arm in ("real", "token", "balanced_softmax")]
    assert "does as well" not in recommend(weaker, CONFIG)[1]


def test_real_never_counts_as_a_rival_of_a_losing_arm():
    rows = [REAL, _made("token", 1.0, -0.1, 1.0), _made("balanced", 0.0, -0.05, 0.9)]
    ratio, sentence = recommend(rows, CONFIG)
    assert ratio == 0.0
    assert "does as well" not in sentence


def test_another_arm_can_be_judged():
    rows = [REAL, _made("token", 1.0, 0.1, 0.001), _made("raw", 4.0, 0.1, 0.001)]
    assert recommend(rows, CONFIG, arm="raw")[0] == 4.0


def test_without_trials_of_the_arm_nothing_is_recommended():
    ratio, sentence = recommend([REAL], CONFIG)
    assert ratio == 0.0
    assert "no trial of arm token" in sentence


def test_test_rows_cannot_decide():
    with pytest.raises(ValueError, match="validation only"):
        recommend([_made("token", 1.0, 0.1, 0.001, split="test")], CONFIG)
