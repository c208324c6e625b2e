"""Whether one set lies nearer to the real images than another: the difference of two kernel distances, p and interval.

What is tested is equal distance, not equality of the two sets: sets that differ from each other and lie equally far
from the real images must pass. The difference is divided by its standard error, and compared with what exchanging
images between the two sets gives (Chung and Romano 2013, Annals of Statistics 41). LOG.md has the tests that were tried
and how often each is wrong. This module does not know the sources.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from flowerti.metrics.checks import checked_sets
from flowerti.metrics.kernel import gram, kernel_distance, off_diagonal_gram, relabellings

MIN_IMAGES = 4
"""Images in each set. With fewer the variance has no estimate: there is a difference, but neither p nor interval."""
MIN_EXCHANGES = 40
"""Fewer cannot give a p below 0.025."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearer:
    """By how much one set lies nearer than another. `p_value` is below 0.025 exactly where `low` is above 0."""

    difference: float
    """kernel_distance(far, real) - kernel_distance(near, real): positive where `near` lies nearer in the sample."""
    p_value: float | None = None
    """One-sided, of "both lie equally far from the real images", in (0, 1]; None below `MIN_IMAGES`."""
    low: float | None = None
    """Lower end of the difference's 95 % interval; None below `MIN_IMAGES`."""
    high: float | None = None


def compare_nearness(
    real: Float[np.ndarray, "num_real dim_real"],
    near: Float[np.ndarray, "num_near dim_near"],
    far: Float[np.ndarray, "num_far dim_far"],
    num_exchanges: int,
    rng: np.random.Generator,
) -> Nearer:
    """Test whether `near` lies nearer to the real images than `far`, and by how much.

    The statistic is t = difference / standard error. Its reference distribution has two parts. Exchanging images
    between `near` and `far` gives what t does where both come from one distribution; this is exact there. Where they
    differ, the exchange also mixes away the variance of the single images, which leaves t normal; the share of the
    variance that the exchanges lack is filled up with Student's t: sqrt(1 - lack) t_exchanged + sqrt(lack) t_student.
    p counts the reference values at or above t, and the interval inverts the same values.

    Args:
        real: features of the real images, any float dtype, finite.
        near: features of the set claimed to lie nearer.
        far: features of the set claimed to lie farther; its size may differ.
        num_exchanges: B, at least 40; p is (1 + #{reference >= t}) / (1 + B).
        rng: source of the exchanges.

    Raises:
        ValueError: as `kernel_distance`, naming the argument, or there are too few exchanges.
    """
    real, near, far = checked_sets(real=real, near=near, far=far)
    if num_exchanges < MIN_EXCHANGES:
        raise ValueError(f"num_exchanges: {num_exchanges}; a p below 0.025 needs at least {MIN_EXCHANGES}")
    is_near = relabellings(len(near), len(far), num_exchanges, rng).astype(np.float64)
    smallest = min(len(real), len(near), len(far))
    if smallest < MIN_IMAGES:
        return Nearer(difference=kernel_distance(far, real) - kernel_distance(near, real))
    found = exchanged_differences(real, near, far, is_near)
    error = found.standard_errors
    lack = max(_single_share(found.single[:1], found.pair[:1]) - _single_share(found.single[1:], found.pair[1:]), 0.0)
    t = found.differences / error
    reference = np.sqrt(1 - lack) * t[1:] + np.sqrt(lack) * rng.standard_t(smallest - 1, size=num_exchanges)
    return _inverted(float(found.differences[0]), float(error[0]), float(t[0]), reference)


def _single_share(single: Float64[np.ndarray, " draws"], pair: Float64[np.ndarray, " draws"]) -> float:
    """The share of the variance that single images have, of its means over draws; at least 0."""
    return max(float(single.mean() / (single.mean() + pair.mean())), 0.0) if single.mean() > 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """kernel_distance(far, real) - kernel_distance(near, real) under each labelling, and its variance in parts."""

    differences: Float64[np.ndarray, " draws"]
    jackknife: Float64[np.ndarray, " draws"]
    """Variance by the delete-one jackknife over all three sets, which counts that of pairs about twice."""
    single: Float64[np.ndarray, " draws"]
    """Variance by single images (Hoeffding's first projection); unbiased, and therefore negative at times."""
    pair: Float64[np.ndarray, " draws"]
    """Variance by pairs of images, at least 0. The unbiased variance of the difference is `single` + `pair`."""

    @property
    def standard_errors(self) -> Float64[np.ndarray, " draws"]:
        """Roots of the variance, where that by single images counts as 0 if negative; above 0."""
        # features that hardly vary leave nothing but rounding in the variance
        least = 1e-9 * np.abs(self.differences).max() + np.finfo(np.float64).tiny
        return np.maximum(np.sqrt(np.maximum(self.single, 0.0) + self.pair), least)


def exchanged_differences(
    real: Float64[np.ndarray, "num_real dim"],
    near: Float64[np.ndarray, "num_near dim"],
    far: Float64[np.ndarray, "num_far dim"],
    is_near: Float64[np.ndarray, "draws num"],
) -> Differences:
    """The difference and its variance under each labelling of the images of `near` and `far`, pooled in this order.

    Args:
        real: features of the real images, at least 2.
        near: features of one set.
        far: features of the other; at least 4 in each.
        is_near: 1 where an image counts as of the first set, else 0.
    """
    pooled = np.concatenate([near, far])
    within, to_real = off_diagonal_gram(pooled), gram(pooled, real)
    of_near, of_far = (_side(within, to_real, is_in) for is_in in (is_near, 1.0 - is_near))
    num_real = len(real)
    # leaving out one real image moves both distances at once: [draws, num_real]
    of_real = 2 * (of_near.to_each_real - of_far.to_each_real) / (num_real - 1)
    jackknife = of_near.jackknife + of_far.jackknife + (num_real - 1) * of_real.var(axis=1)
    pair = of_near.pair + of_far.pair
    return Differences(
        differences=of_far.distance - of_near.distance,
        jackknife=jackknife,
        single=jackknife - of_near.excess - of_far.excess - pair,
        pair=pair,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """One of the two sets under each labelling."""

    distance: Float64[np.ndarray, " draws"]
    """To the real images, without their own term, which cancels in a difference."""
    jackknife: Float64[np.ndarray, " draws"]
    """Variance of it by the delete-one jackknife over the images of the set."""
    pair: Float64[np.ndarray, " draws"]
    """Variance of it that pairs of images have, within the set and with real images."""
    excess: Float64[np.ndarray, " draws"]
    """What the jackknife over this set and over the real images counts too much of it."""
    to_each_real: Float64[np.ndarray, "draws num_real"]
    """Mean kernel between the set and each real image."""


def _side(
    within: Float64[np.ndarray, "num num"],
    to_real: Float64[np.ndarray, "num num_real"],
    is_in: Float64[np.ndarray, "draws num"],
) -> _Side:
    """Distance and variances of one set of n images by sums over rows, columns and squares, for all labellings at once.

    Sources: Arvesen 1969 for the jackknife of U-statistics; Efron and Stein 1981 (Annals of Statistics 9) for what it
    counts too much; Szekely and Rizzo 2014 (Annals of Statistics 42) for the unbiased variance of a centred kernel.
    """
    n, r = is_in[0].sum(), to_real.shape[1]
    rows = is_in @ within  # [draws, num] x [num, num] -> [draws, num]: sum of the kernel between each image and the set
    columns = is_in @ to_real  # [draws, num] x [num, num_real] -> [draws, num_real]
    mean_to_real = to_real.mean(axis=1)
    total, total_to_real = (rows * is_in).sum(axis=1), columns.sum(axis=1)
    # value without image i, up to a constant: -2 / ((n - 1) (n - 2)) sum_j k(i, j) + 2 / (n - 1) mean_r k(i, r)
    without_each = 2 / (n - 1) * (mean_to_real - rows / (n - 2))
    spread = (is_in * without_each**2).sum(axis=1) - (is_in * without_each).sum(axis=1) ** 2 / n
    # sum_{i != j} of the squared kernel, U-centred, over n (n - 3)
    squares = ((is_in @ within**2) * is_in).sum(axis=1)
    squares -= 2 / (n - 2) * (rows**2 * is_in).sum(axis=1) - total**2 / ((n - 1) * (n - 2))
    within_pairs = np.maximum(squares, 0.0) / (n * (n - 3))
    # sum_{i, r} of the squared kernel, centred by rows and columns, over (n - 1) (r - 1)
    squares = is_in @ (to_real**2).sum(axis=1) - r * (is_in @ mean_to_real**2)
    squares -= (columns**2).sum(axis=1) / n - total_to_real**2 / (n * r)
    real_pairs = np.maximum(squares, 0.0) / ((n - 1) * (r - 1))
    return _Side(
        distance=total / (n * (n - 1)) - 2 * total_to_real / (n * r),
        jackknife=(n - 1) / n * spread,
        pair=2 / (n * (n - 1)) * within_pairs + 4 / (n * r) * real_pairs,
        # the jackknife counts 4 / (n (n - 2)) of the pairs within, and those with real images from both sides
        excess=(4 / (n * (n - 2)) - 2 / (n * (n - 1))) * within_pairs + 4 / (n * r) * real_pairs,
        to_each_real=columns / n,
    )


def _inverted(difference: float, error: float, t: float, reference: Float64[np.ndarray, " draws"]) -> Nearer:
    """The p-value and the interval from one reference distribution, so that they cannot contradict each other."""
    # an exchange that is the observed labelling must count as a tie despite rounding
    ordered = np.sort(np.where(np.isclose(reference, t, rtol=1e-9, atol=1e-12), t, reference))
    num = len(ordered)
    p_value = float((1 + (ordered >= t).sum()) / (1 + num))
    # p < 1 / 40 where at most so many values reach t: where t lies above the next one, counted from the end
    most = -(-(num + 1) // 40) - 2
    # difference - quantile * error, written so that its sign is that of t - quantile
    low, high = (float(error * (t - quantile)) for quantile in (ordered[-1 - most], ordered[most]))
    return Nearer(difference=difference, p_value=p_value, low=low, high=high)
