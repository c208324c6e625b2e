"""Diversity as an effective number of images: the Vendi score, and its ratio to that of real images.

The score grows with the number of images; only sets of one size are compared.
"""

import numpy as np
from jaxtyping import Float, Float64

from flowerti.metrics.checks import checked, checked_sets, unit_rows


def vendi_score(features: Float[np.ndarray, "num dim"]) -> float:
    """Exponential of the entropy of the eigenvalues of K / n, with cosines as kernel K.

    Source: Friedman and Dieng 2022 (arXiv 2210.02410), definition 1. K / n and X^T X / n share their eigenvalues, so
    the smaller of the two is decomposed. Eigenvalues that rounding left below 0 count as 0; the kernel has no others.

    Args:
        features: features of one set, any float dtype, finite, no zero vectors.

    Returns:
        Between 1 and the number of images.

    Raises:
        ValueError: fewer than 2 images, NaN or infinity, features that do not vary, or a zero vector.
    """
    return _score(unit_rows("features", checked("features", features)))


def vendi_ratio(real: Float[np.ndarray, "num dim_real"], synthetic: Float[np.ndarray, "num_y dim_y"]) -> float:
    """Vendi score of the synthetic set over that of the real one.

    Raises:
        ValueError: the sets differ in size, or as `vendi_score`.
    """
    real, synthetic = checked_sets(real=real, synthetic=synthetic)
    if len(real) != len(synthetic):
        raise ValueError(
            f"synthetic: {len(synthetic)} images beside {len(real)}; the score grows with the number, take equal ones"
        )
    return _score(unit_rows("synthetic", synthetic)) / _score(unit_rows("real", real))


def _score(rows: Float64[np.ndarray, "num dim"]) -> float:
    num, dim = rows.shape
    # [num, num] or [dim, dim]: X X^T / n and X^T X / n share their eigenvalues
    matrix = rows @ rows.T if num <= dim else rows.T @ rows
    shares = np.linalg.eigvalsh(matrix / num)
    shares = shares[shares > 0]
    # exp(-sum_i lambda_i log lambda_i), where 0 log 0 = 0
    return float(np.exp(-(shares * np.log(shares)).sum()))
