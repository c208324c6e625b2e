"""The bootstrap of the sweep: F1 of groups of classes under resampled seeds and images.

Every seed predicted the same images, so seeds and images are crossed factors. What the replicates mean for an interval
is in `intervals`. This module works on predictions and does not know about arms, ratios, torch, Ray or files.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int64
from scipy import sparse


@dataclass(frozen=True, kw_only=True, slots=True)
class Replicates:
    """Mean F1 of groups of classes: of each seed, and in each replicate."""

    seeds: Float64[np.ndarray, "groups arms seeds"]
    """On the original images."""
    images_only: Float64[np.ndarray, "groups arms replicates"]
    """Images resampled, mean over all seeds."""
    both: Float64[np.ndarray, "groups arms replicates"]
    """Seeds and images resampled."""


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
