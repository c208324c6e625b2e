"""The Fréchet distance against closed forms and other libraries, and its statistics against the whole."""

import numpy as np
import pytest
import scipy.linalg
import torch

from flowerti.metrics.frechet import FeatureStatistics, frechet_distance, frechet_from_statistics


def _with_exact_moments(rng, num, mean, scale):
    centred = rng.normal(size=(num, len(mean)))
    centred -= centred.mean(axis=0)
    orthonormal, _ = np.linalg.qr(centred)
    return np.asarray(mean) + orthonormal * np.sqrt(num - 1) * np.asarray(scale)


def test_frechet_is_the_closed_form_for_diagonal_gaussians():
    rng = np.random.default_rng(0)
    mean_x, mean_y = np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 0.5])
    scale_x, scale_y = np.array([1.0, 2.0, 0.1]), np.array([3.0, 2.0, 0.7])
    x = _with_exact_moments(rng, 12, mean_x, scale_x)
    y = _with_exact_moments(rng, 30, mean_y, scale_y)
    expected = ((mean_x - mean_y) ** 2).sum() + ((scale_x - scale_y) ** 2).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_frechet_is_the_matrix_root_form_for_full_covariances():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6))
    y = rng.normal(size=(25, 6)) @ rng.normal(size=(6, 6)) + 1
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.real(scipy.linalg.sqrtm(cov_x @ cov_y))
    shift = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    expected = shift + np.trace(cov_x + cov_y - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)


def test_frechet_holds_with_fewer_images_than_features():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(8, 30)), 2 * rng.normal(size=(5, 30))
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    roots = np.sqrt(np.clip(np.linalg.eigvals(cov_x @ cov_y).real, 0, None)).sum()
    shift = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    expected = shift + np.trace(cov_x) + np.trace(cov_y) - 2 * roots
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_a_set_with_itself_is_zero_but_for_rounding():
    x = np.random.default_rng(3).normal(size=(20, 50)).astype(np.float32)
    assert abs(frechet_distance(x, x)) < 1e-10


def skewed(seed: int, num: int, dim: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num, dim)) * np.arange(1, dim + 1) ** -0.7 + rng.normal(size=dim) * 0.1


@pytest.mark.parametrize("num", [40, 300])
def test_frechet_is_torch_fidelitys(num: int):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    x, y = skewed(0, num, 64), skewed(1, num + 7, 64)
    statistics = [fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y)]
    theirs = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    assert frechet_distance(x, y) == pytest.approx(theirs, rel=1e-3)


def test_frechet_is_the_formula_of_torchmetrics():
    from torchmetrics.image.fid import _compute_fid

    x, y = skewed(2, 100, 32), skewed(3, 80, 32)
    moments = [(torch.from_numpy(z.mean(axis=0)), torch.from_numpy(np.cov(z.T))) for z in (x, y)]
    theirs = _compute_fid(moments[0][0], moments[0][1], moments[1][0], moments[1][1])
    assert frechet_distance(x, y) == pytest.approx(float(theirs), rel=1e-4)


@pytest.mark.parametrize("cuts", [[5], [1, 2, 3], [7, 8, 30, 49], list(range(1, 50))])
def test_statistics_of_any_partition_are_those_of_the_whole(cuts: list[int]):
    features = skewed(4, 50, 12) + 100.0
    parts = [FeatureStatistics.of(part) for part in np.split(features, cuts)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert merged.count == 50
    np.testing.assert_allclose(merged.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(merged.scatter / 49, np.cov(features.T), rtol=1e-9, atol=1e-9)
    backwards = parts[-1]
    for part in reversed(parts[:-1]):
        backwards = backwards.merge(part)
    np.testing.assert_allclose(backwards.scatter, merged.scatter, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("num", "dim"), [(200, 16), (20, 64)])
def test_statistics_give_the_distance_of_the_features(num: int, dim: int):
    x, y = skewed(5, num, dim), skewed(6, num, dim)
    ours = frechet_from_statistics(FeatureStatistics.of(x), FeatureStatistics.of(y))
    assert ours == pytest.approx(frechet_distance(x, y), rel=1e-5)


def test_what_is_no_covariance_is_refused_and_not_clipped():
    good = FeatureStatistics.of(skewed(7, 20, 3))
    broken = FeatureStatistics(count=20, mean=good.mean, scatter=good.scatter - 30 * np.eye(3))
    with pytest.raises(ValueError, match="no covariance"):
        frechet_from_statistics(broken, good)
    with pytest.raises(ValueError, match="no covariance"):
        frechet_from_statistics(good, broken)


def test_statistics_that_do_not_fit_are_refused():
    one, good = FeatureStatistics.of(np.ones((1, 3))), FeatureStatistics.of(skewed(8, 9, 3))
    with pytest.raises(ValueError, match=r"y: 1 image"):
        frechet_from_statistics(good, one)
    wide = FeatureStatistics.of(skewed(9, 9, 4))
    for function in (frechet_from_statistics, FeatureStatistics.merge):
        with pytest.raises(ValueError, match="width 4 beside 3"):
            function(good, wide)
    for bad in (np.zeros((0, 3)), np.full((2, 3), np.nan)):
        with pytest.raises(ValueError, match="features: no images, or NaN"):
            FeatureStatistics.of(bad)
