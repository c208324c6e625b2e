"""Numbers computed from arrays: distances between sets of features, their tests, and F1.

The Fréchet distance (FID once the features are Inception's) is biased upwards at the sizes this
project works with and must be read beside its `floor`. The kernel distance (KID) is an unbiased
U-statistic and may be negative. Everything runs in float64. This module does not know where
features or predictions come from, which class or extractor they belong to, nor anything about files
or torch.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Float64, Int


def _checked(name: str, features: Float[np.ndarray, "num dim"]) -> Float64[np.ndarray, "num dim"]:
    if features.ndim != 2:
        raise ValueError(f"{name}: shape {features.shape}; pass features as [pictures, width]")
    if len(features) < 2:
        raise ValueError(f"{name}: {len(features)} picture(s); a distance needs at least 2")
    if not np.isfinite(features).all():
        raise ValueError(f"{name}: holds NaN or infinity; check the feature extractor")
    if (features == features[0]).all():
        raise ValueError(f"{name}: all {len(features)} feature vectors are equal; nothing varies")
    return features.astype(np.float64)


def _checked_sets(**sets: Float[np.ndarray, "_ _"]) -> list[Float64[np.ndarray, "_ _"]]:
    checked = [_checked(name, features) for name, features in sets.items()]
    first = next(iter(sets))
    for name, features in zip(sets, checked, strict=True):
        if features.shape[1] != checked[0].shape[1]:
            raise ValueError(
                f"{name}: features of width {features.shape[1]}, but {first} has width "
                f"{checked[0].shape[1]}; use one extractor for both"
            )
    return checked


def frechet_distance(x: Float[np.ndarray, "num_x dim_x"], y: Float[np.ndarray, "num_y dim_y"]) -> float:
    """Squared Fréchet distance between Gaussians fitted to two sets of features.

    With A and B the centred features over sqrt(n - 1), tr sqrt(Sx Sy) is the sum of the singular
    values of A B^T, an n x m matrix: no dim x dim root is taken, which is both faster and
    real-valued where n < dim. The value is not clipped, so rounding can leave a set's distance to
    itself a little below 0.

    Source: Heusel et al. 2017 (arXiv 1706.08500), equation 6; Dowson and Landau 1982.

    Args:
        x: features of one set, any float dtype, finite.
        y: features of the other set, of the same width.

    Returns:
        The distance in squared feature units; biased upwards, the more so the fewer the pictures.

    Raises:
        ValueError: a set has fewer than 2 pictures, holds NaN or infinity or does not vary, or the
            widths differ.
    """
    x, y = _checked_sets(x=x, y=y)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    a = (x - mean_x) / np.sqrt(len(x) - 1)
    b = (y - mean_y) / np.sqrt(len(y) - 1)
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(((mean_x - mean_y) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * cross)


def gram(x: Float[np.ndarray, "num_x dim"], y: Float[np.ndarray, "num_y dim"]) -> Float64[np.ndarray, "num_x num_y"]:
    """Polynomial kernel (x.y / dim + 1)^3 between all rows of two sets.

    Source: Binkowski et al. 2018 (arXiv 1801.01401), section 4.
    """
    inner = x.astype(np.float64) @ y.astype(np.float64).T
    return (inner / x.shape[1] + 1.0) ** 3


def _off_diagonal_gram(x: Float64[np.ndarray, "num dim"]) -> Float64[np.ndarray, "num num"]:
    matrix = gram(x, x)
    np.fill_diagonal(matrix, 0.0)
    return matrix


def kernel_distance(x: Float[np.ndarray, "num_x dim_x"], y: Float[np.ndarray, "num_y dim_y"]) -> float:
    """Kernel distance (KID): unbiased squared maximum mean discrepancy with `gram`'s kernel.

    Source: Gretton et al. 2012 (JMLR 13), equation 3; Binkowski et al. 2018 (arXiv 1801.01401).

    Args:
        x: features of one set, any float dtype, finite.
        y: features of the other set, of the same width.

    Returns:
        The distance; mean 0 where both sets come from one distribution, hence negative about half
        of the time.

    Raises:
        ValueError: a set has fewer than 2 pictures, holds NaN or infinity or does not vary, or the
            widths differ.
    """
    x, y = _checked_sets(x=x, y=y)
    n, m = len(x), len(y)
    within_x = _off_diagonal_gram(x).sum() / (n * (n - 1))
    within_y = _off_diagonal_gram(y).sum() / (m * (m - 1))
    return float(within_x + within_y - 2 * gram(x, y).mean())


def _relabellings(
    num_first: int, num_second: int, num_permutations: int, rng: np.random.Generator
) -> Bool[np.ndarray, "draws num"]:
    # Row 0 is the labelling as observed: both sides of ">=" come out of the same arithmetic.
    observed = np.arange(num_first + num_second) < num_first
    shuffled = rng.permuted(np.tile(observed, (num_permutations, 1)), axis=1)
    return np.concatenate([observed[None], shuffled])


def _pair_sums(
    off_diagonal: Float64[np.ndarray, "num num"], is_first: Bool[np.ndarray, "draws num"]
) -> tuple[Float64[np.ndarray, " draws"], Float64[np.ndarray, " draws"]]:
    """Kernel sums over ordered pairs within the first and the second set, for each labelling."""
    first = is_first.astype(np.float64)
    within_first = ((first @ off_diagonal) * first).sum(axis=1)
    touching_first = first @ off_diagonal.sum(axis=1)
    return within_first, off_diagonal.sum() - 2 * touching_first + within_first


def _share_at_least_observed(statistics: Float64[np.ndarray, " draws"], scale: float) -> float:
    # Relabellings that are the observed one again must count as ties whatever their last digits.
    reached = statistics[1:] >= statistics[0] - 1e-12 * scale
    return float((1 + reached.sum()) / len(statistics))


def permutation_p_value(
    x: Float[np.ndarray, "num_x dim_x"],
    y: Float[np.ndarray, "num_y dim_y"],
    num_permutations: int,
    rng: np.random.Generator,
) -> float:
    """Test whether two sets come from one distribution, with the kernel distance as statistic.

    Pictures are relabelled at random over the pooled set; the p-value is (1 + #{distance >=
    observed}) / (1 + B).

    Source: Gretton et al. 2012 (JMLR 13); Phipson and Smyth 2010 for the +1.

    Args:
        x: features of one set, any float dtype, finite.
        y: features of the other set, of the same width.
        num_permutations: B, at least 1.
        rng: source of the relabellings.

    Returns:
        The one-sided p-value in [1 / (1 + B), 1].

    Raises:
        ValueError: as `kernel_distance`.
    """
    x, y = _checked_sets(x=x, y=y)
    n, m = len(x), len(y)
    pooled = _off_diagonal_gram(np.concatenate([x, y]))
    within_x, within_y = _pair_sums(pooled, _relabellings(n, m, num_permutations, rng))
    between = (pooled.sum() - within_x - within_y) / 2
    distances = within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * between / (n * m)
    return _share_at_least_observed(distances, np.abs(pooled).max())


def closer_p_value(
    real: Float[np.ndarray, "num_real dim_real"],
    near: Float[np.ndarray, "num_near dim_near"],
    far: Float[np.ndarray, "num_far dim_far"],
    num_permutations: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Test whether one set lies nearer to the real pictures than another does.

    The statistic is kernel_distance(far, real) - kernel_distance(near, real), in which the real
    pictures' own term cancels. Pictures are exchanged at random between `near` and `far`; the real
    ones stay.

    Args:
        real: features of the real pictures, any float dtype, finite.
        near: features of the set claimed to lie nearer.
        far: features of the set claimed to lie farther; its size may differ.
        num_permutations: B, at least 1.
        rng: source of the exchanges.

    Returns:
        The difference (positive where the claim holds in the sample) and its one-sided p-value in
        [1 / (1 + B), 1].

    Raises:
        ValueError: as `kernel_distance`, naming the argument.
    """
    real, near, far = _checked_sets(real=real, near=near, far=far)
    n, m = len(near), len(far)
    pooled = np.concatenate([near, far])
    off_diagonal, to_real = _off_diagonal_gram(pooled), gram(pooled, real).mean(axis=1)
    is_near = _relabellings(n, m, num_permutations, rng)
    within_near, within_far = _pair_sums(off_diagonal, is_near)
    near_to_real = is_near @ to_real
    far_to_real = to_real.sum() - near_to_real
    near_distances = within_near / (n * (n - 1)) - 2 * near_to_real / n
    far_distances = within_far / (m * (m - 1)) - 2 * far_to_real / m
    differences = far_distances - near_distances
    scale = max(np.abs(off_diagonal).max(), np.abs(to_real).max())
    return float(differences[0]), _share_at_least_observed(differences, scale)


def floor(
    real: Float[np.ndarray, "num dim"],
    num_splits: int,
    rng: np.random.Generator,
    distance: Callable[[np.ndarray, np.ndarray], float],
) -> tuple[float, int]:
    """Mean distance between random disjoint halves: what a perfect generator would score.

    Args:
        real: features of the real pictures, any float dtype, finite; an odd one is left out of each
            split.
        num_splits: splits to average over, at least 1.
        rng: source of the splits.
        distance: a function of two sets of features.

    Returns:
        The mean and the number of pictures on each side.

    Raises:
        ValueError: fewer than 4 pictures, or whatever `distance` finds wrong with a half.
    """
    half = len(real) // 2
    if half < 2:
        raise ValueError(f"real: {len(real)} picture(s); two halves to compare need at least 4")
    orders = [rng.permutation(len(real)) for _ in range(num_splits)]
    values = [distance(real[order[:half]], real[order[half : 2 * half]]) for order in orders]
    return float(np.mean(values)), half


def against_halves(
    real: Float[np.ndarray, "num_real dim"],
    synthetic: Float[np.ndarray, "num_synthetic _dim"],
    num_splits: int,
    rng: np.random.Generator,
    distance: Callable[[np.ndarray, np.ndarray], float],
) -> tuple[float, float, int]:
    """Mean distance of synthetic pictures, and of real ones, to random halves of the real pictures, at one size.

    A biased distance can be compared with its floor only at the same number of pictures on all sides; so each split
    takes as many synthetic pictures as a half has real ones, or fewer of all where there are fewer synthetic ones.

    Args:
        real: features of the real pictures, any float dtype, at least 4.
        synthetic: features of the synthetic pictures, of the same width, at least 2.
        num_splits: splits to average over, at least 1.
        rng: source of the splits.
        distance: a function of two sets of features.

    Returns:
        The mean distance of the synthetic pictures, the floor, and the number of pictures on each side of both.

    Raises:
        ValueError: too few pictures, or whatever `distance` finds wrong.
    """
    size = min(len(real) // 2, len(synthetic))
    if size < 2:
        raise ValueError(f"{len(real)} real and {len(synthetic)} synthetic pictures: at least 4 and 2 are needed")
    values, floors = [], []
    for _ in range(num_splits):
        order, chosen = rng.permutation(len(real)), rng.permutation(len(synthetic))[:size]
        half = real[order[:size]]
        values.append(distance(half, synthetic[chosen]))
        floors.append(distance(half, real[order[size : 2 * size]]))
    return float(np.mean(values)), float(np.mean(floors)), size


def f1_scores(
    true_ids: Int[np.ndarray, " num"],
    predicted_ids: Int[np.ndarray, "*trials num"],
    num_classes: int,
) -> Float64[np.ndarray, "*trials classes"]:
    """F1 of each class, 2 TP / (true + predicted), for one or more predictions of the pictures.

    Args:
        true_ids: class id of each picture, in [0, num_classes).
        predicted_ids: predicted class ids; the last axis runs over the pictures.
        num_classes: classes in all.

    Returns:
        F1 in [0, 1]; 0 for a class that is neither present nor predicted.

    Raises:
        ValueError: a class id lies outside [0, num_classes), or the numbers of pictures differ.
    """
    if predicted_ids.shape[-1:] != true_ids.shape:
        raise ValueError(f"predicted_ids: {predicted_ids.shape[-1]} predictions for {len(true_ids)} pictures")
    for name, ids in (("true_ids", true_ids), ("predicted_ids", predicted_ids)):
        if ids.size and (ids.min() < 0 or ids.max() >= num_classes):
            raise ValueError(f"{name}: holds a class id outside [0, {num_classes})")
    trials = predicted_ids.shape[:-1]
    flat = predicted_ids.reshape(-1, len(true_ids))
    cells = flat + num_classes * np.arange(len(flat))[:, None]
    size = num_classes * len(flat)
    predicted = np.bincount(cells.ravel(), minlength=size).reshape(-1, num_classes)
    hits = np.bincount(cells[flat == true_ids], minlength=size).reshape(-1, num_classes)
    total = predicted + np.bincount(true_ids, minlength=num_classes)
    f1 = np.divide(2.0 * hits, total, out=np.zeros(total.shape), where=total > 0)
    return f1.reshape(*trials, num_classes)
