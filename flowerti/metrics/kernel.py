"""Kernel distances, the permutation test of "same distribution", and their standard error.

The kernel distance (KID) and CMMD are unbiased U-statistics and may be negative.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64

from flowerti.metrics.checks import checked_sets, unit_rows


def gram(x: Float[np.ndarray, "num_x dim"], y: Float[np.ndarray, "num_y dim"]) -> Float64[np.ndarray, "num_x num_y"]:
    """Polynomial kernel (x.y / dim + 1)^3 between all rows of two sets.

    Source: Binkowski et al. 2018 (arXiv 1801.01401), section 4.
    """
    inner = x.astype(np.float64) @ y.astype(np.float64).T
    return (inner / x.shape[1] + 1.0) ** 3


def off_diagonal_gram(x: Float64[np.ndarray, "num dim"]) -> Float64[np.ndarray, "num num"]:
    """`gram` between the rows of one set, with 0 in place of each row with itself."""
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
        ValueError: a set has fewer than 2 images, holds NaN or infinity or does not vary, or the
            widths differ.
    """
    x, y = checked_sets(x=x, y=y)
    n, m = len(x), len(y)
    # sum_{i != j} k(x_i, x_j) / (n (n - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1)) - 2 sum_ij k(x_i, y_j) / (n m)
    within_x = off_diagonal_gram(x).sum() / (n * (n - 1))
    within_y = off_diagonal_gram(y).sum() / (m * (m - 1))
    return float(within_x + within_y - 2 * gram(x, y).mean())


def relabellings(
    num_first: int, num_second: int, num_permutations: int, rng: np.random.Generator
) -> Bool[np.ndarray, "draws num"]:
    """Which of the pooled images count as of the first set: as observed, then at random [1 + num_permutations, num]."""
    # row 0 is the observed labelling, so that both sides of ">=" are computed by the same operations
    observed = np.arange(num_first + num_second) < num_first
    shuffled = rng.permuted(np.tile(observed, (num_permutations, 1)), axis=1)
    return np.concatenate([observed[None], shuffled])


def _pair_sums(
    off_diagonal: Float64[np.ndarray, "num num"], is_first: Bool[np.ndarray, "draws num"]
) -> tuple[Float64[np.ndarray, " draws"], Float64[np.ndarray, " draws"]]:
    """Kernel sums over ordered pairs within the first and the second set, for each labelling."""
    # with a = 1 in the first set and b = 1 - a in the second:
    # a^T K a, and b^T K b = 1^T K 1 - 2 a^T K 1 + a^T K a; [draws, num] x [num, num] -> [draws]
    first = is_first.astype(np.float64)
    within_first = ((first @ off_diagonal) * first).sum(axis=1)
    touching_first = first @ off_diagonal.sum(axis=1)
    return within_first, off_diagonal.sum() - 2 * touching_first + within_first


def _share_at_least_observed(statistics: Float64[np.ndarray, " draws"], scale: float) -> float:
    # a relabelling that equals the observed one must count as a tie despite rounding
    # p = (1 + #{statistic >= observed}) / (1 + B)
    reached = statistics[1:] >= statistics[0] - 1e-12 * scale
    return float((1 + reached.sum()) / len(statistics))


def permutation_p_value(
    x: Float[np.ndarray, "num_x dim_x"],
    y: Float[np.ndarray, "num_y dim_y"],
    num_permutations: int,
    rng: np.random.Generator,
) -> float:
    """Test whether two sets come from one distribution, with the kernel distance as statistic.

    Images are relabelled at random over the pooled set; the p-value is (1 + #{distance >=
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
    x, y = checked_sets(x=x, y=y)
    n, m = len(x), len(y)
    pooled = off_diagonal_gram(np.concatenate([x, y]))
    within_x, within_y = _pair_sums(pooled, relabellings(n, m, num_permutations, rng))
    between = (pooled.sum() - within_x - within_y) / 2  # a^T K b: K contains each pair across the sets twice
    distances = within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * between / (n * m)
    return _share_at_least_observed(distances, np.abs(pooled).max())


def kernel_standard_error(x: Float[np.ndarray, "num_x dim_x"], y: Float[np.ndarray, "num_y dim_y"]) -> float:
    """Standard error of `kernel_distance` by the delete-one jackknife over the images of both sets.

    Source: Arvesen 1969 (Annals of Mathematical Statistics 40), for U-statistics of two samples: the variances of the
    samples add. All leave-one-out values come from row sums of the Gram matrices.

    Raises:
        ValueError: a set has fewer than 3 images, or as `kernel_distance`.
    """
    x, y = checked_sets(x=x, y=y)
    _require_three(x=x, y=y)
    within_x, within_y, between = off_diagonal_gram(x), off_diagonal_gram(y), gram(x, y)
    # leave-one-out values of the distance up to constants; the jackknife variances of the two samples add
    of_x = _without_each(within_x) - 2 * _means_without_each(between)
    of_y = _without_each(within_y) - 2 * _means_without_each(between.T)
    return float(np.sqrt(_jackknife_variance(of_x) + _jackknife_variance(of_y)))


def _require_three(**sets: Float64[np.ndarray, "_ _"]) -> None:
    for name, features in sets.items():
        if len(features) < 3:
            raise ValueError(f"{name}: {len(features)} image(s); a jackknife needs at least 3")


def _without_each(off_diagonal: Float64[np.ndarray, "num num"]) -> Float64[np.ndarray, " num"]:
    """Mean over ordered pairs when one image is left out, for each image."""
    n = len(off_diagonal)
    # (sum_{j != k} K_jk - 2 sum_k K_ik) / ((n - 1) (n - 2)) for each i
    return (off_diagonal.sum() - 2 * off_diagonal.sum(axis=1)) / ((n - 1) * (n - 2))


def _means_without_each(between: Float64[np.ndarray, "num others"]) -> Float64[np.ndarray, " num"]:
    """Mean of a matrix when one row is left out, for each row."""
    # (sum_jk K_jk - sum_k K_ik) / ((n - 1) m) for each i
    return (between.sum() - between.sum(axis=1)) / ((len(between) - 1) * between.shape[1])


def _jackknife_variance(values: Float64[np.ndarray, " num"]) -> float:
    # (n - 1) / n sum_i (v_i - mean)^2
    return float((len(values) - 1) / len(values) * ((values - values.mean()) ** 2).sum())


def cmmd(x: Float[np.ndarray, "num_x dim_x"], y: Float[np.ndarray, "num_y dim_y"], bandwidth: float = 10.0) -> float:
    """Unbiased squared maximum mean discrepancy of unit vectors with a Gaussian kernel, times 1000.

    Source: Jayasumana et al. 2024 (arXiv 2401.09603), section 4, on CLIP features. Common implementations include
    the pairs of an image with itself, a V-statistic that is far from 0 for two small samples of one distribution; this
    is the U-statistic of the paper's equation, whose mean is 0 in that case.

    Args:
        x: features of one set, any length but 0; they are normalised here.
        y: features of the other set, of the same width.
        bandwidth: sigma of exp(-|a - b|^2 / (2 sigma^2)).

    Raises:
        ValueError: a feature vector is zero, or as `kernel_distance`.
    """
    x, y = (unit_rows(name, rows) for name, rows in zip("xy", checked_sets(x=x, y=y), strict=True))

    def kernel(a: Float64[np.ndarray, "n dim"], b: Float64[np.ndarray, "m dim"]) -> Float64[np.ndarray, "n m"]:
        # k(a, b) - 1 = exp((a.b - 1) / sigma^2) - 1, since |a - b|^2 = 2 - 2 a.b for unit vectors; expm1 avoids the
        # cancellation of values close to 1
        return np.expm1((a @ b.T - 1.0) / bandwidth**2)

    n, m = len(x), len(y)
    # U-statistic as in kernel_distance; the missing constant cancels, 1 + 1 - 2 = 0
    within_x = (kernel(x, x).sum() - np.trace(kernel(x, x))) / (n * (n - 1))
    within_y = (kernel(y, y).sum() - np.trace(kernel(y, y))) / (m * (m - 1))
    return float(1000.0 * (within_x + within_y - 2 * kernel(x, y).mean()))
