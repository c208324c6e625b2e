"""Precision, recall, density and coverage against loops over their definitions, and under equality."""

import numpy as np
import pytest

from flowerti.metrics.manifold import expected_coverage, precision_recall_density_coverage


def loops(real: np.ndarray, synthetic: np.ndarray, k: int) -> dict[str, float]:
    def radius(rows: np.ndarray, i: int) -> float:
        return sorted(np.linalg.norm(rows[i] - rows[j]) for j in range(len(rows)) if j != i)[k - 1]

    real_radii = [radius(real, i) for i in range(len(real))]
    synthetic_radii = [radius(synthetic, j) for j in range(len(synthetic))]
    near = [[np.linalg.norm(x - y) for y in synthetic] for x in real]
    pairs = [(i, j) for i in range(len(real)) for j in range(len(synthetic))]
    return {
        "precision": np.mean(
            [any(near[i][j] <= real_radii[i] for i in range(len(real))) for j in range(len(synthetic))]
        ),
        "recall": np.mean(
            [any(near[i][j] <= synthetic_radii[j] for j in range(len(synthetic))) for i in range(len(real))]
        ),
        "density": sum(near[i][j] <= real_radii[i] for i, j in pairs) / (k * len(synthetic)),
        "coverage": np.mean([min(near[i]) <= real_radii[i] for i in range(len(real))]),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
def test_scores_follow_their_definitions(k: int):
    rng = np.random.default_rng(30)
    real, synthetic = rng.normal(size=(14, 4)), rng.normal(0.6, 0.7, size=(11, 4))
    found = precision_recall_density_coverage(real, synthetic, k)
    for name, value in loops(real, synthetic, k).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-12), name


def test_under_equality_coverage_and_density_are_as_expected():
    rng = np.random.default_rng(31)
    found = [precision_recall_density_coverage(*rng.normal(size=(2, 30, 6)), 3) for _ in range(400)]
    for name, expected in (("coverage", expected_coverage(30, 30, 3)), ("density", 1.0)):
        values = [getattr(one, name) for one in found]
        assert abs(np.mean(values) - expected) <= 3 * np.std(values) / np.sqrt(len(values)), name


def test_one_place_only_is_precise_and_covers_little():
    rng = np.random.default_rng(32)
    real = rng.normal(size=(60, 3))
    found = precision_recall_density_coverage(real, real[:1] + 1e-3 * rng.normal(size=(60, 3)), 3)
    assert found.precision == 1.0
    assert found.coverage < 0.2


@pytest.mark.parametrize("k", [0, 4])
def test_neighbours_that_do_not_fit_are_refused(k: int):
    rng = np.random.default_rng(33)
    with pytest.raises(ValueError, match="num_neighbours"):
        precision_recall_density_coverage(rng.normal(size=(9, 2)), rng.normal(size=(4, 2)), k)
