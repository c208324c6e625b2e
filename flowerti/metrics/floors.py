"""Floors of metrics: the score of a perfect generator, estimated between disjoint halves of the real images.

This module does not know the metric that it is given.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float


def floor(
    real: Float[np.ndarray, "num dim"],
    num_splits: int,
    rng: np.random.Generator,
    distance: Callable[[np.ndarray, np.ndarray], float],
) -> tuple[float, int]:
    """Mean distance between random disjoint halves: what a perfect generator would score.

    Args:
        real: features of the real images, any float dtype, finite; with an odd number each split omits one.
        num_splits: splits to average over, at least 1.
        rng: source of the splits.
        distance: a function of two sets of features.

    Returns:
        The mean and the number of images on each side.

    Raises:
        ValueError: fewer than 4 images, or as `distance` on a half.
    """
    half = len(real) // 2
    if half < 2:
        raise ValueError(f"real: {len(real)} image(s); two halves to compare need at least 4")
    orders = [rng.permutation(len(real)) for _ in range(num_splits)]
    values = [distance(real[order[:half]], real[order[half : 2 * half]]) for order in orders]
    return float(np.mean(values)), half


def against_halves(
    real: Float[np.ndarray, "num_real dim"],
    synthetic: Float[np.ndarray, "num_synthetic _dim"],
    num_splits: int,
    halves_rng: np.random.Generator,
    chosen_rng: np.random.Generator,
    distance: Callable[[np.ndarray, np.ndarray], float],
) -> tuple[float, float, int]:
    """Mean distance of synthetic images, and of real ones, to random halves of the real images, at one size.

    A biased distance can be compared with its floor only at the same number of images on all sides; so each split
    takes as many synthetic images as a half has real ones, or fewer of all where there are fewer synthetic ones. The
    halves depend on `halves_rng` and the real images alone, so that sets of one size that are given generators of one
    state have the same floor.

    Args:
        real: features of the real images, any float dtype, at least 4.
        synthetic: features of the synthetic images, of the same width, at least 2.
        num_splits: splits to average over, at least 1.
        halves_rng: source of the splits.
        chosen_rng: source of the choice of synthetic images.
        distance: a function of two sets of features.

    Returns:
        The mean distance of the synthetic images, the floor, and the number of images on each side of both.

    Raises:
        ValueError: too few images, or as `distance`.
    """
    size = min(len(real) // 2, len(synthetic))
    if size < 2:
        raise ValueError(f"{len(real)} real and {len(synthetic)} synthetic images: at least 4 and 2 are needed")
    values, floors = [], []
    for _ in range(num_splits):
        order, chosen = halves_rng.permutation(len(real)), chosen_rng.permutation(len(synthetic))[:size]
        half = real[order[:size]]
        values.append(distance(half, synthetic[chosen]))
        floors.append(distance(half, real[order[size : 2 * size]]))
    return float(np.mean(values)), float(np.mean(floors)), size
