"""The bootstrap of the sweep's intervals: resamples seeds and test images, and corrects its variance.

Every seed predicted the same images, so seeds and images are crossed factors. Resampling both at once ("pigeonhole
bootstrap") counts the variance of their interaction three times, and with few seeds it underestimates the variance
between seeds. `stretched` corrects both. This module works on predictions and does not know about arms, ratios, torch,
Ray or files.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int64
from scipy import sparse, stats

LEVEL = 0.95
TIE = 1e-12
"""Differences up to this size are rounding errors of sums in another order, and count as ties."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replicates:
    """Mean F1 of groups of classes: of each seed, and in each replicate."""

    seeds: Float64[np.ndarray, "groups arms seeds"]
    """On the original images."""
    images_only: Float64[np.ndarray, "groups arms replicates"]
    """Images resampled, mean over all seeds."""
    both: Float64[np.ndarray, "groups arms replicates"]
    """Seeds and images resampled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean with its 95 % interval and the one-sided p-value of "not above 0"."""

    value: float
    low: float
    high: float
    p: float


def draw_resamples(
    true_ids: Int64[np.ndarray, " num"],
    num_seeds: int,
    num_replicates: int,
    rng: np.random.Generator,
) -> tuple[Int64[np.ndarray, "replicates seeds"], Float32[np.ndarray, "num replicates"]]:
    """Draw how often each seed and each image occurs in each replicate.

    Seeds and images are crossed, not nested: one draw of images serves all seeds of a replicate. Counts stay exact
    in float32; they take 4 * num * replicates bytes.

    Args:
        true_ids: class id of each image; the number of images of a class is kept in every replicate.
        num_seeds: seeds in each arm.
        num_replicates: bootstrap replicates.
        rng: source of the draws.

    Returns:
        Seed counts, each row summing to num_seeds, and image counts.
    """
    seed_counts = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), num_replicates)
    image_counts = np.empty((len(true_ids), num_replicates), dtype=np.float32)
    for class_id in np.unique(true_ids):
        members = np.flatnonzero(true_ids == class_id)
        # counts of a class ~ Multinomial(n_c; 1 / n_c, ..., 1 / n_c): drawn within classes, so that n_c stays
        shares = np.full(len(members), 1 / len(members))
        image_counts[members] = rng.multinomial(len(members), shares, num_replicates).T
    return seed_counts, image_counts


def resampled_f1(
    predictions: Int64[np.ndarray, "arms seeds num"],
    true_ids: Int64[np.ndarray, " num"],
    groups: Float64[np.ndarray, "groups classes"],
    seed_counts: Int[np.ndarray, "replicates seeds"],
    image_counts: Float32[np.ndarray, "num replicates"],
) -> Replicates:
    """Mean F1 of each group of classes, for every arm and replicate.

    A trial's class counts in all replicates at once are a sparse classes x images matrix times the image counts, so
    that no array of size trials x images x replicates is allocated. The original images are one additional replicate.

    Args:
        predictions: predicted class id of each image.
        true_ids: true class id of each image.
        groups: weights of the classes, each row summing to 1.
        seed_counts: how often each seed occurs in a replicate.
        image_counts: how often each image occurs in a replicate.

    Returns:
        F1 in [0, 1].
    """
    num_arms, num_seeds, num_images = predictions.shape
    num_replicates = image_counts.shape[1]
    share = seed_counts.T / num_seeds  # [replicates, seeds] -> [seeds, replicates]
    # [num, replicates] -> [num, replicates + 1]: the last column has each image once
    counts = np.concatenate([image_counts, np.ones((num_images, 1), np.float32)], axis=1)
    support = _class_counts(true_ids, np.ones(num_images), groups.shape[1], counts)
    seeds = np.zeros((len(groups), num_arms, num_seeds))
    images_only, both = (np.zeros((len(groups), num_arms, num_replicates)) for _ in range(2))
    for arm, seed in np.ndindex(num_arms, num_seeds):
        # [groups, classes] @ [classes, replicates + 1]: m_sb = sum_c g_c F1_c(seed s, images of replicate b)
        means = groups @ _weighted_f1(predictions[arm, seed], true_ids, support, counts)
        seeds[:, arm, seed] = means[:, -1]
        images_only[:, arm] += means[:, :-1] / num_seeds  # sum_s m_sb / S
        both[:, arm] += means[:, :-1] * share[seed]  # sum_s m_sb count_sb / S
    return Replicates(seeds=seeds, images_only=images_only, both=both)


def _class_counts(
    ids: Int64[np.ndarray, " num"],
    values: Float[np.ndarray, " num"],
    num_classes: int,
    image_counts: Float32[np.ndarray, "num replicates"],
) -> Float32[np.ndarray, "classes replicates"]:
    """sum_i [id_i = c] value_i count_ib, as a sparse [classes, num] matrix times [num, replicates]."""
    kept = np.flatnonzero(values)
    cells = (values[kept].astype(np.float32), (ids[kept], kept))
    return sparse.csr_array(cells, shape=(num_classes, len(ids))) @ image_counts


def _weighted_f1(
    ids: Int64[np.ndarray, " num"],
    true_ids: Int64[np.ndarray, " num"],
    support: Float32[np.ndarray, "classes replicates"],
    image_counts: Float32[np.ndarray, "num replicates"],
) -> Float64[np.ndarray, "classes replicates"]:
    """F1 = 2 TP / (2 TP + FP + FN) = 2 hits / (support + predicted); 0 for a class neither true nor predicted."""
    num_classes = len(support)
    predicted = _class_counts(ids, np.ones(len(ids)), num_classes, image_counts)
    hits = _class_counts(ids, (ids == true_ids).astype(np.float64), num_classes, image_counts)
    total = support + predicted
    f1 = np.zeros(total.shape)
    return np.divide(2.0 * hits, total, out=f1, where=total > 0, dtype=np.float64)


def crossed_variance(
    seed_values: Float64[np.ndarray, " seeds"],
    images_only: Float64[np.ndarray, " replicates"],
    both: Float64[np.ndarray, " replicates"],
    num_images: float,
) -> tuple[float, float]:
    """Variance of a mean over crossed seeds and images, and its degrees of freedom.

    For a plain mean this is the unbiased estimate of the two-way random model, (MS_seeds + MS_images - MS_rest) /
    (seeds * images): the bootstrap's variance with both resampled is that of the seeds, that of the images and
    MS_rest, each times its small-sample factor. It is at least the variance of seeds or images alone. With one seed,
    whose variance is unknown, only images count.

    Source: Owen 2007 (The pigeonhole bootstrap, Ann. Appl. Stat. 1), section 3, for the factor of three; Satterthwaite
        1946 for the degrees of freedom.

    Args:
        seed_values: the statistic of each seed on the original images.
        images_only: replicates with the images resampled.
        both: replicates with seeds and images resampled.
        num_images: number of images behind the statistic, per unit that is resampled separately (a class): above 1.
    """
    num_seeds = len(seed_values)
    # with S seeds, N images: of_images = MS_images / SN; the bootstrap's own variance is (N - 1) / N of it
    image_factor = num_images / (num_images - 1)
    of_images = float(np.var(images_only)) * image_factor
    if num_seeds == 1:
        return of_images, num_images - 1
    # of_seeds = MS_seeds / SN = var(seed means) / S
    seed_factor = num_seeds / (num_seeds - 1)
    of_seeds = float(np.var(seed_values, ddof=1)) / num_seeds
    # var(both) = of_seeds (S - 1) / S + of_images (N - 1) / N + of_rest (S - 1)(N - 1) / SN (Owen 2007, section 3)
    rest = float(np.var(both)) - of_seeds / seed_factor - of_images / image_factor
    of_rest = max(0.0, rest) * seed_factor * image_factor
    # v = (MS_seeds + MS_images - MS_rest) / SN, and at least that of seeds or images alone
    variance = max(of_seeds, of_images, of_seeds + of_images - of_rest)
    # Satterthwaite: nu = v^2 / (v_seeds^2 / (S - 1) + v_images^2 / (N - 1))
    spread = of_seeds**2 / (num_seeds - 1) + of_images**2 / (num_images - 1)
    return variance, variance**2 / spread if spread > 0 else math.inf


def stretched(
    seed_values: Float64[np.ndarray, " seeds"],
    images_only: Float64[np.ndarray, " replicates"],
    both: Float64[np.ndarray, " replicates"],
    num_images: float,
) -> Float64[np.ndarray, " replicates"]:
    """Scale the replicates around the estimate to the corrected variance and the quantile of Student's t.

    Args:
        seed_values: as in `crossed_variance`.
        images_only: as in `crossed_variance`.
        both: as in `crossed_variance`.
        num_images: as in `crossed_variance`.
    """
    spread = float(np.std(both))
    if spread < TIE:
        return both
    variance, freedom = crossed_variance(seed_values, images_only, both, num_images)
    tail = (1 + LEVEL) / 2
    # t_nu(0.975) / z(0.975): the percentile interval of normal replicates becomes Student's t interval
    student = 1.0 if math.isinf(freedom) else float(stats.t.ppf(tail, max(1.0, freedom)) / stats.norm.ppf(tail))
    centre = float(seed_values.mean())
    # m + (b - m) (t / z) sqrt(v) / std(b)
    return centre + (both - centre) * (student * math.sqrt(variance) / spread)


def estimate(
    seed_values: Float64[np.ndarray, " seeds"],
    images_only: Float64[np.ndarray, " replicates"],
    both: Float64[np.ndarray, " replicates"],
    num_images: float,
) -> Estimate:
    """Mean over seeds, percentile interval and p-value from the stretched replicates.

    Source: Efron and Tibshirani 1993, chapter 13; Davison and Hinkley 1997, section 4.2, for the +1 of the p-value.

    Args:
        seed_values: as in `crossed_variance`.
        images_only: as in `crossed_variance`.
        both: as in `crossed_variance`.
        num_images: as in `crossed_variance`.
    """
    replicates = stretched(seed_values, images_only, both, num_images)
    low, high = np.percentile(replicates, [100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2])
    # p = (1 + #{b <= 0}) / (1 + B)
    p = float((1 + (replicates <= TIE).sum()) / (1 + len(replicates)))
    return Estimate(value=float(seed_values.mean()), low=float(low), high=float(high), p=p)
