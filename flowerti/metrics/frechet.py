"""The Fréchet distance (FID once the features are Inception's) and statistics that can be merged.

It is biased upwards at the sample sizes of this project and must be compared with its floor (`floors`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from flowerti.metrics.checks import checked_sets

_ROUNDING = 1e-6


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
        The distance in squared feature units; biased upwards, the more so the fewer the images.

    Raises:
        ValueError: a set has fewer than 2 images, holds NaN or infinity or does not vary, or the
            widths differ.
    """
    x, y = checked_sets(x=x, y=y)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    a = (x - mean_x) / np.sqrt(len(x) - 1)
    b = (y - mean_y) / np.sqrt(len(y) - 1)
    # Sx = A^T A, Sy = B^T B: tr sqrt(Sx Sy) = sum of the singular values of A B^T, [n, dim] x [dim, m] -> [n, m]
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    # |mx - my|^2 + tr Sx + tr Sy - 2 tr sqrt(Sx Sy)
    return float(((mean_x - mean_y) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * cross)


@dataclass(frozen=True)
class FeatureStatistics:
    """Number, mean and scatter of a set of features: all that the Fréchet distance needs, and mergeable.

    A set of fewer images than features are wide is smaller than its statistics (dim x dim): send the features then.
    """

    count: int
    mean: Float64[np.ndarray, " dim"]
    scatter: Float64[np.ndarray, "dim dim"]
    """Sum of the outer products of the centred features."""

    @classmethod
    def of(cls, features: Float[np.ndarray, "num dim"]) -> "FeatureStatistics":
        """Statistics of one part of a set; one image is enough.

        Raises:
            ValueError: no image, or features that are not finite.
        """
        if len(features) == 0 or not np.isfinite(features).all():
            raise ValueError("features: no images, or NaN or infinity among them; check the feature extractor")
        rows = features.astype(np.float64)
        mean = rows.mean(axis=0)
        return cls(count=len(rows), mean=mean, scatter=(rows - mean).T @ (rows - mean))

    def merge(self, other: "FeatureStatistics") -> "FeatureStatistics":
        """Statistics of both parts together (Chan, Golub and LeVeque 1979, equation 2.1).

        Raises:
            ValueError: the parts differ in width.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"other: features of width {len(other.mean)} beside {len(self.mean)}; use one extractor for both"
            )
        count, shift = self.count + other.count, other.mean - self.mean
        # m = (n mx + k my) / (n + k);  S = Sx + Sy + d d^T n k / (n + k), where d = my - mx
        return FeatureStatistics(
            count=count,
            mean=(self.count * self.mean + other.count * other.mean) / count,
            scatter=self.scatter + other.scatter + np.outer(shift, shift) * (self.count * other.count / count),
        )


def frechet_from_statistics(x: FeatureStatistics, y: FeatureStatistics) -> float:
    """`frechet_distance` of two sets of which only the statistics are known.

    tr sqrt(Sx Sy) is the sum of the roots of the eigenvalues of sqrt(Sx) Sy sqrt(Sx), which is symmetric, so all of it
    stays real. Eigenvalues that rounding left a little below 0 count as 0.

    Raises:
        ValueError: fewer than 2 images, widths that differ, or an eigenvalue that is negative beyond rounding.
    """
    for name, one in (("x", x), ("y", y)):
        if one.count < 2:
            raise ValueError(f"{name}: {one.count} image(s); a distance needs at least 2")
    if x.mean.shape != y.mean.shape:
        raise ValueError(f"y: features of width {len(y.mean)} beside {len(x.mean)}; use one extractor for both")
    covariance_x, covariance_y = x.scatter / (x.count - 1), y.scatter / (y.count - 1)
    values, vectors = np.linalg.eigh(covariance_x)
    # R = V diag(sqrt(lambda)) V^T = sqrt(Sx);  tr sqrt(Sx Sy) = sum of the roots of the eigenvalues of R Sy R
    root = (vectors * np.sqrt(_no_less_than_zero("x", values))) @ vectors.T
    cross = np.sqrt(_no_less_than_zero("x and y", np.linalg.eigvalsh(root @ covariance_y @ root))).sum()
    # |mx - my|^2 + tr Sx + tr Sy - 2 tr sqrt(Sx Sy)
    traces = np.trace(covariance_x) + np.trace(covariance_y)
    return float(((x.mean - y.mean) ** 2).sum() + traces - 2 * cross)


def _no_less_than_zero(name: str, eigenvalues: Float64[np.ndarray, " dim"]) -> Float64[np.ndarray, " dim"]:
    if eigenvalues.min() < -_ROUNDING * max(eigenvalues.max(), 0.0):
        raise ValueError(f"{name}: an eigenvalue is {eigenvalues.min():.3g}, so this is no covariance; compute it anew")
    return np.maximum(eigenvalues, 0.0)
