"""What the sweep's trials say: F1 of each arm with intervals, gains, and a recommendation.

Intervals come from a two-level bootstrap. A replicate draws seeds with replacement and, within each
class, pictures with replacement; all arms and seeds of the replicate see the same draw, because
they predicted the same pictures. This module takes predictions as they are: it does not know how a
trial is trained, nor anything about torch, Ray or files.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int64
from scipy import sparse

from flowerti.artifacts import SweepRow, Trial, seed_for
from flowerti.config import SweepConfig
from flowerti.metrics.classification import f1_scores

_TIE = 1e-12  # Sums in another order differ in the last digits; such a gain counts as none.
_SIGNIFICANCE = 0.05
_FREE_CONTROLS = ("balanced", "balanced_softmax", "augmented")
_PROMPT_ARMS = ("raw", "alternative_name", "latin_name")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    split: str
    arms: list[tuple[str, float]]
    predictions: Int64[np.ndarray, "arms seeds num"]


def _predictions(trial: Trial, num_pictures: int, num_classes: int) -> Int64[np.ndarray, " num"]:
    where = f"trial {trial.arm} at ratio {trial.ratio:g}, seed {trial.seed_index}"
    if len(trial.predictions) != num_pictures:
        raise ValueError(
            f"{where}: {len(trial.predictions)} predictions for {num_pictures} pictures; "
            "run the trial again on this split"
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


def _lay_out(trials: Sequence[Trial], num_pictures: int, num_classes: int) -> _Layout:
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
    rows = [[_predictions(by_cell[arm, ratio, s], num_pictures, num_classes) for s in seeds] for arm, ratio in arms]
    return _Layout(split=trials[0].split, arms=arms, predictions=np.array(rows))


def _group_weights(num_classes: int, weak_ids: Iterable[int]) -> Float64[np.ndarray, "3 classes"]:
    """Rows that average F1 over all classes, over the weak ones and over the rest."""
    weak = sorted(set(weak_ids))
    if not weak or weak[0] < 0 or weak[-1] >= num_classes:
        raise ValueError(f"weak_ids: {weak}; name at least one class id in [0, {num_classes})")
    if len(weak) == num_classes:
        raise ValueError("weak_ids: every class is weak; leave one out to watch for harm")
    is_weak = np.isin(np.arange(num_classes), weak)
    groups = np.stack([np.ones(num_classes), is_weak, ~is_weak])
    return groups / groups.sum(axis=1, keepdims=True)


def draw_resamples(
    true_ids: Int64[np.ndarray, " num"],
    num_seeds: int,
    num_replicates: int,
    rng: np.random.Generator,
) -> tuple[Int64[np.ndarray, "replicates seeds"], Float32[np.ndarray, "num replicates"]]:
    """Draw how often each seed and each picture occurs in each replicate.

    Seeds and pictures are crossed, not nested: every seed predicted the same pictures, so one draw
    of pictures serves all seeds of a replicate. Counts stay exact in float32; they take 4 * num *
    replicates bytes.

    Args:
        true_ids: class id of each picture; the number of pictures of a class is kept in every
            replicate.
        num_seeds: seeds in each arm.
        num_replicates: bootstrap replicates.
        rng: source of the draws.

    Returns:
        Seed counts, each row summing to num_seeds, and picture counts.
    """
    seed_counts = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), num_replicates)
    picture_counts = np.empty((len(true_ids), num_replicates), dtype=np.float32)
    for class_id in np.unique(true_ids):
        members = np.flatnonzero(true_ids == class_id)
        shares = np.full(len(members), 1 / len(members))
        picture_counts[members] = rng.multinomial(len(members), shares, num_replicates).T
    return seed_counts, picture_counts


def resampled_f1(
    predictions: Int64[np.ndarray, "arms seeds num"],
    true_ids: Int64[np.ndarray, " num"],
    groups: Float64[np.ndarray, "groups classes"],
    seed_counts: Int[np.ndarray, "replicates seeds"],
    picture_counts: Float32[np.ndarray, "num replicates"],
) -> Float64[np.ndarray, "groups arms replicates"]:
    """Mean F1 of each group of classes, for every arm and replicate.

    A trial's class counts in all replicates at once are a sparse classes x pictures matrix times
    the picture counts, so that nothing of size trials x pictures x replicates is ever held.

    Args:
        predictions: predicted class id of each picture.
        true_ids: true class id of each picture.
        groups: weights of the classes, each row summing to 1.
        seed_counts: how often each seed occurs in a replicate.
        picture_counts: how often each picture occurs in a replicate.

    Returns:
        F1 in [0, 1], averaged over the replicate's seeds.
    """
    num_arms, num_seeds, _ = predictions.shape
    share = seed_counts.T / num_seeds
    support = _class_counts(true_ids, np.ones(len(true_ids)), groups.shape[1], picture_counts)
    means = np.zeros((len(groups), num_arms, picture_counts.shape[1]))
    for arm in range(num_arms):
        for seed in range(num_seeds):
            ids = predictions[arm, seed]
            f1 = _weighted_f1(ids, true_ids, support, picture_counts)
            means[:, arm] += (groups @ f1) * share[seed]
    return means


def _class_counts(
    ids: Int64[np.ndarray, " num"],
    values: Float[np.ndarray, " num"],
    num_classes: int,
    picture_counts: Float32[np.ndarray, "num replicates"],
) -> Float32[np.ndarray, "classes replicates"]:
    kept = np.flatnonzero(values)
    cells = (values[kept].astype(np.float32), (ids[kept], kept))
    return sparse.csr_array(cells, shape=(num_classes, len(ids))) @ picture_counts


def _weighted_f1(
    ids: Int64[np.ndarray, " num"],
    true_ids: Int64[np.ndarray, " num"],
    support: Float32[np.ndarray, "classes replicates"],
    picture_counts: Float32[np.ndarray, "num replicates"],
) -> Float64[np.ndarray, "classes replicates"]:
    num_classes = len(support)
    predicted = _class_counts(ids, np.ones(len(ids)), num_classes, picture_counts)
    hits = _class_counts(ids, (ids == true_ids).astype(np.float64), num_classes, picture_counts)
    total = support + predicted
    f1 = np.zeros(total.shape)
    return np.divide(2.0 * hits, total, out=f1, where=total > 0, dtype=np.float64)


def summarise(
    trials: Sequence[Trial],
    true_ids: Int64[np.ndarray, " num"],
    num_classes: int,
    weak_ids: Iterable[int],
    config: SweepConfig,
    seed: int,
) -> list[SweepRow]:
    """Summarise the trials of one split over seeds, with 95 % intervals and paired gains.

    Gains are against arm `real`. The one-sided p-value is (1 + #{replicates with gain <= 0}) / (1 +
    replicates). With few seeds the intervals are too narrow: the draw of seeds cannot show more
    spread than the seeds that were run.

    Source: Efron and Tibshirani 1993, chapters 8 and 13; Davison and Hinkley 1997, section 4.2, for
        the +1.

    Args:
        trials: trials of one split, in any order; every arm and ratio with the same seeds.
        true_ids: true class id of each picture of the split, in the order of the predictions.
        num_classes: classes in all; one without pictures counts with F1 0, as in the classifier's
            own score.
        weak_ids: class ids of the weak classes: at least one, and not all.
        config: `num_bootstrap` is the number of replicates.
        seed: run seed.

    Returns:
        One row for each arm and ratio: `real` first, then the other arms at ratio 0, then by arm
        and ratio.

    Raises:
        ValueError: no trials, several splits, `real` missing, a cell twice, seeds that differ
            between arms, a wrong number of predictions, NaN, or class ids out of range.
    """
    if not len(true_ids):
        raise ValueError("true_ids: empty; the split holds no pictures")
    layout = _lay_out(trials, len(true_ids), num_classes)
    groups = _group_weights(num_classes, weak_ids)
    num_seeds = layout.predictions.shape[1]
    f1 = f1_scores(true_ids, layout.predictions, num_classes).mean(axis=1) @ groups.T
    rng = np.random.default_rng(seed_for(seed, "", f"bootstrap/{layout.split}", 0))
    counts = draw_resamples(true_ids, num_seeds, config.num_bootstrap, rng)
    replicates = resampled_f1(layout.predictions, true_ids, groups, *counts)
    return [
        _row(layout.split, cell, num_seeds, f1[i], f1[0], replicates[:, i], replicates[:, 0])
        for i, cell in enumerate(layout.arms)
    ]


def _interval(values: Float64[np.ndarray, " replicates"]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _row(
    split: str,
    cell: tuple[str, float],
    num_seeds: int,
    f1: Float64[np.ndarray, " 3"],
    real_f1: Float64[np.ndarray, " 3"],
    replicates: Float64[np.ndarray, "3 replicates"],
    real_replicates: Float64[np.ndarray, "3 replicates"],
) -> SweepRow:
    gains = replicates[1] - real_replicates[1]
    macro_low, macro_high = _interval(replicates[0])
    weak_low, weak_high = _interval(replicates[1])
    gain_low, gain_high = _interval(gains)
    return SweepRow(
        split=split,
        arm=cell[0],
        ratio=cell[1],
        num_seeds=num_seeds,
        macro_f1=float(f1[0]),
        macro_f1_low=macro_low,
        macro_f1_high=macro_high,
        weak_f1=float(f1[1]),
        weak_f1_low=weak_low,
        weak_f1_high=weak_high,
        rest_f1=float(f1[2]),
        weak_gain=float(f1[1] - real_f1[1]),
        weak_gain_low=gain_low,
        weak_gain_high=gain_high,
        weak_gain_p=float((1 + (gains <= _TIE).sum()) / (1 + len(gains))),
        rest_gain=float(f1[2] - real_f1[2]),
    )


def recommend(validation_rows: Sequence[SweepRow], config: SweepConfig, arm: str = "token") -> tuple[float, str]:
    """Choose how many synthetic pictures to use, as a multiple of a weak class's real ones.

    A ratio qualifies where its Holm-adjusted p-value (over the arm's ratios) is below 0.05 and the
    other classes lose no more than `config.max_rest_drop`; the largest mean gain of weak F1 wins.
    Nothing qualifies: ratio 0.

    Source: Holm 1979 (Scand. J. Statist. 6).

    Args:
        validation_rows: rows of `summarise` on the validation split.
        config: `max_rest_drop`.
        arm: the synthetic arm to judge.

    Returns:
        The ratio, and why, in one or two sentences; a control or plain prompt that does as well is
        named there.

    Raises:
        ValueError: rows of another split than validation.
    """
    if any(row.split != "validation" for row in validation_rows):
        raise ValueError("validation_rows: hold another split; choose on validation only")
    rows = [row for row in validation_rows if row.arm == arm]
    if not rows:
        return 0.0, f"Use no synthetic pictures: the sweep holds no trial of arm {arm}."
    adjusted = _holm([row.weak_gain_p for row in rows])
    significant = [i for i, p in enumerate(adjusted) if p < _SIGNIFICANCE and rows[i].weak_gain > 0]
    kept = [i for i in significant if rows[i].rest_gain >= -config.max_rest_drop]
    best = max(kept or significant or range(len(rows)), key=lambda i: rows[i].weak_gain)
    facts = _facts(rows[best], adjusted[best])
    rivals = _rivals(rows[best], validation_rows)
    ratio = rows[best].ratio
    if kept:
        return ratio, f"Use {ratio:g} synthetic pictures for each real one: {facts}.{rivals}"
    if significant:
        reason = f"ratio {ratio:g} gains, but the others lose more than {config.max_rest_drop:g}"
    else:
        reason = f"no ratio gains beyond chance, the best being {ratio:g}"
    return 0.0, f"Use no synthetic pictures: {reason} ({facts}).{rivals}"


def _holm(p_values: list[float]) -> list[float]:
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(p_values, method="holm")[1]).tolist()


def _facts(row: SweepRow, adjusted_p: float) -> str:
    return (
        f"on validation the weak classes' F1 changes by {row.weak_gain:+.3f} "
        f"(95 % interval {row.weak_gain_low:+.3f} to {row.weak_gain_high:+.3f}, "
        f"Holm-adjusted p {adjusted_p:.2g}) and the other classes' by {row.rest_gain:+.3f}"
    )


def _rivals(chosen: SweepRow, rows: Sequence[SweepRow]) -> str:
    """Name the best free control and plain prompt that gain and reach the chosen weak F1."""
    notes = []
    for arms, kind in (
        (_FREE_CONTROLS, "a free control"),
        (_PROMPT_ARMS, "a prompt without token"),
    ):
        reached = [
            row
            for row in rows
            if row.arm in arms and row.arm != chosen.arm and row.weak_gain > 0 and row.weak_f1 >= chosen.weak_f1 - _TIE
        ]
        if reached:
            best = max(reached, key=lambda row: row.weak_f1)
            at = f" at ratio {best.ratio:g}" if best.ratio > 0 else ""
            notes.append(
                f"{kind} does as well: {best.arm}{at} (weak F1 {best.weak_f1:.3f} against {chosen.weak_f1:.3f})"
            )
    return " But " + "; ".join(notes) + "." if notes else ""
