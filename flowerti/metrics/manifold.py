"""Precision, recall, density and coverage: do synthetic images lie among the real ones, and everywhere among them?

All four depend on the number of images and of neighbours; compare them with their floor.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from flowerti.metrics.checks import checked_sets


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifoldScores:
    """Shares in [0, 1], except density, whose mean is 1 under equality."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(
    real: Float[np.ndarray, "num_real dim_real"],
    synthetic: Float[np.ndarray, "num_synthetic dim_y"],
    num_neighbours: int,
) -> ManifoldScores:
    """Overlap of two sets by balls around their images, with the distance to the k-th nearest neighbour as radius.

    Source: precision and recall: Kynkäänniemi et al. 2019 (arXiv 1904.06991), equations 1 and 2; density and coverage:
    Naeem et al. 2020 (arXiv 2002.09797), equations 4 and 6.

    Args:
        real: features of real images, any float dtype, finite.
        synthetic: features of synthetic images, of the same width.
        num_neighbours: k, at least 1 and below the number of images of each set.

    Raises:
        ValueError: k does not fit, or as `kernel_distance`.
    """
    real, synthetic = checked_sets(real=real, synthetic=synthetic)
    smallest = min(len(real), len(synthetic))
    if not 1 <= num_neighbours < smallest:
        raise ValueError(f"num_neighbours: {num_neighbours} for sets of {smallest} images; choose 1 to {smallest - 1}")
    between = _distances(real, synthetic)  # [num_real, num_synthetic]
    real_radii, synthetic_radii = _radii(real, num_neighbours), _radii(synthetic, num_neighbours)
    in_real_ball = between <= real_radii[:, None]
    in_synthetic_ball = between <= synthetic_radii[None]
    # precision: share of y in any B(x_i);  recall: share of x in any B(y_j)
    # density: sum_j #{i: y_j in B(x_i)} / (k M);  coverage: share of i with any y_j in B(x_i)
    return ManifoldScores(
        precision=float(in_real_ball.any(axis=0).mean()),
        recall=float(in_synthetic_ball.any(axis=1).mean()),
        density=float(in_real_ball.sum(axis=0).mean() / num_neighbours),
        coverage=float((between.min(axis=1) <= real_radii).mean()),
    )


def expected_coverage(num_real: int, num_synthetic: int, num_neighbours: int) -> float:
    """Mean coverage of two samples of one distribution (Naeem et al. 2020, lemma 2).

    It is 1 - prod_{i=1..k} (N - i) / (N + M - i), for N real and M synthetic images and k neighbours.
    """
    i = np.arange(1, num_neighbours + 1)
    return float(1.0 - np.prod((num_real - i) / (num_real + num_synthetic - i)))


def _distances(x: Float64[np.ndarray, "n dim"], y: Float64[np.ndarray, "m dim"]) -> Float64[np.ndarray, "n m"]:
    from scipy.spatial.distance import cdist

    return cdist(x, y)


def _radii(x: Float64[np.ndarray, "n dim"], num_neighbours: int) -> Float64[np.ndarray, " n"]:
    # index 0 is the image itself, at distance 0, so index k is the k-th nearest neighbour
    return np.partition(_distances(x, x), num_neighbours, axis=1)[:, num_neighbours]
