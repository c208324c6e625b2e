"""The Vendi score against its definition and its extremes."""

import numpy as np
import pytest

from flowerti.metrics.diversity import vendi_ratio, vendi_score


@pytest.mark.parametrize(("num", "dim"), [(6, 20), (20, 6)])
def test_the_score_is_the_entropy_of_the_kernels_eigenvalues(num: int, dim: int):
    rows = np.random.default_rng(40).normal(size=(num, dim))
    kernel = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in rows] for a in rows]) / num
    shares = np.clip(scipy_eigenvalues(kernel), 1e-300, None)
    assert vendi_score(rows) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-9)


def scipy_eigenvalues(matrix: np.ndarray) -> np.ndarray:
    import scipy.linalg

    return scipy.linalg.eigvals(matrix).real


def test_different_images_count_one_each_and_copies_none():
    assert vendi_score(np.eye(7)) == pytest.approx(7.0)
    assert vendi_score(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3.0)


def test_the_ratio_needs_equal_numbers():
    rng = np.random.default_rng(41)
    real = rng.normal(size=(12, 8))
    assert vendi_ratio(real, real) == pytest.approx(1.0)
    assert vendi_ratio(real, real[:1] + 0.1 * rng.normal(size=(12, 8))) < 0.5
    with pytest.raises(ValueError, match="synthetic: 11 images beside 12"):
        vendi_ratio(real, real[:11])


def test_a_vector_without_direction_is_refused():
    with pytest.raises(ValueError, match="features: feature vector 2 is zero"):
        vendi_score(np.array([[1.0, 0], [0, 1], [0, 0]]))
