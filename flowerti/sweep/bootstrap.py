"""The bootstrap of the sweep: F1 of groups of classes under resampled units and images.

A unit is one repetition of an arm, or several that share what was learnt or drawn (`sweep.repetitions`). Every unit
predicted the same images, so units and images are crossed factors. What the replicates mean for an interval is in
`intervals`. This module works on predictions and does not know about arms, ratios, torch, Ray or files.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int64
from scipy import sparse


@dataclass(frozen=True, kw_only=True, slots=True)
class Replicates:
    """Mean F1 of groups of classes: of each unit, and in each replicate."""

    units: Float64[np.ndarray, "groups arms units"]
    """On the original images."""
    repetitions: Float64[np.ndarray, "groups arms repetitions"]
    """The same of each repetition."""
    images_only: Float64[np.ndarray, "groups arms replicates"]
    """Images resampled, mean over all units."""
    both: Float64[np.ndarray, "groups arms replicates"]
    """Units and images resampled."""


def draw_resamples(
    true_ids: Int64[np.ndarray, " num"],
    num_units: int,
    num_replicates: int,
    rng: np.random.Generator,
) -> tuple[Int64[np.ndarray, "replicates units"], Float32[np.ndarray, "num replicates"]]:
    """Draw how often each unit and each image occurs in each replicate.

    Units and images are crossed, not nested: one draw of images serves all units of a replicate. Counts stay exact
    in float32; they take 4 * num * replicates bytes.

    Args:
        true_ids: class id of each image; the number of images of a class is kept in every replicate.
        num_units: units in each arm.
        num_replicates: bootstrap replicates.
        rng: source of the draws.

    Returns:
        Unit counts, each row summing to num_units, and image counts.
    """
    unit_counts = rng.multinomial(num_units, np.full(num_units, 1 / num_units), num_replicates)
    image_counts = np.empty((len(true_ids), num_replicates), dtype=np.float32)
    for class_id in np.unique(true_ids):
        members = np.flatnonzero(true_ids == class_id)
        # counts of a class ~ Multinomial(n_c; 1 / n_c, ..., 1 / n_c): drawn within classes, so that n_c stays
        shares = np.full(len(members), 1 / len(members))
        image_counts[members] = rng.multinomial(len(members), shares, num_replicates).T
    return unit_counts, image_counts


def resampled_f1(
    predictions: Int64[np.ndarray, "arms repetitions num"],
    true_ids: Int64[np.ndarray, " num"],
    groups: Float64[np.ndarray, "groups classes"],
    unit_counts: Int[np.ndarray, "replicates units"],
    image_counts: Float32[np.ndarray, "num replicates"],
) -> Replicates:
    """Mean F1 of each group of classes, for every arm and replicate.

    A trial's class counts in all replicates at once are a sparse classes x images matrix times the image counts, so
    that no array of size trials x images x replicates is allocated. The original images are one additional replicate.

    Args:
        predictions: predicted class id of each image.
        true_ids: true class id of each image.
        groups: weights of the classes, each row summing to 1.
        unit_counts: how often each unit occurs in a replicate; units are runs of repetitions of equal length.
        image_counts: how often each image occurs in a replicate.

    Returns:
        F1 in [0, 1].
    """
    num_arms, num_repetitions, num_images = predictions.shape
    num_replicates, num_units = image_counts.shape[1], unit_counts.shape[1]
    share = unit_counts.T / num_units  # [replicates, units] -> [units, replicates]
    in_unit = num_repetitions // num_units
    # [num, replicates] -> [num, replicates + 1]: the last column has each image once
    counts = np.concatenate([image_counts, np.ones((num_images, 1), np.float32)], axis=1)
    support = _class_counts(true_ids, np.ones(num_images), groups.shape[1], counts)
    repetitions = np.zeros((len(groups), num_arms, num_repetitions))
    images_only, both = (np.zeros((len(groups), num_arms, num_replicates)) for _ in range(2))
    for arm, place in np.ndindex(num_arms, num_repetitions):
        # [groups, classes] @ [classes, replicates + 1]: m_rb = sum_c g_c F1_c(repetition r, images of replicate b)
        means = groups @ _weighted_f1(predictions[arm, place], true_ids, support, counts)
        repetitions[:, arm, place] = means[:, -1]
        images_only[:, arm] += means[:, :-1] / num_repetitions  # sum_r m_rb / R
        both[:, arm] += means[:, :-1] * share[place // in_unit] / in_unit  # sum_u (mean of r in u: m_rb) count_ub / U
    units = repetitions.reshape(len(groups), num_arms, num_units, in_unit).mean(axis=3)
    return Replicates(units=units, repetitions=repetitions, images_only=images_only, both=both)


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
