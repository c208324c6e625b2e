"""Kernel distances against loops and torch-fidelity; their tests and standard errors against brute force."""

from itertools import combinations

import numpy as np
import pytest
import scipy.stats
import torch

from flowerti.metrics.frechet import frechet_distance
from flowerti.metrics.kernel import (
    cmmd,
    gram,
    kernel_distance,
    kernel_standard_error,
    permutation_p_value,
)


def _loop_kernel_distance(x, y):
    def kernel(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def mean(values):
        return sum(values) / len(values)

    within = [
        mean([kernel(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j])
        for s in (x.tolist(), y.tolist())
    ]
    return sum(within) - 2 * mean([kernel(a, b) for a in x.tolist() for b in y.tolist()])


def test_kernel_distance_is_the_double_loop():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 0.5
    assert kernel_distance(x, y) == pytest.approx(_loop_kernel_distance(x, y), rel=1e-12)


def test_float32_features_are_summed_in_float64():
    rng = np.random.default_rng(5)
    x, y = (rng.normal(size=(6, 4)).astype(np.float32) + 30 for _ in range(2))
    expected = _loop_kernel_distance(x.astype(np.float64), y.astype(np.float64))
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-7)


def _check_kernel_distance_is_centred_at_zero(num_draws, num):
    rng = np.random.default_rng(num)
    draws = [kernel_distance(rng.normal(size=(num, 6)), rng.normal(size=(num, 6))) for _ in range(num_draws)]
    standard_error = np.std(draws, ddof=1) / np.sqrt(num_draws)
    assert abs(np.mean(draws)) < 3 * standard_error
    # Keeping the diagonals (the V-statistic) would add this much: the check above must be able to see it.
    diagonal = np.mean([gram(v, v)[0, 0] for v in rng.normal(size=(200, 1, 6))])
    assert 2 * (diagonal - 1) / num > 10 * standard_error


def test_kernel_distance_is_unbiased():
    _check_kernel_distance_is_centred_at_zero(num_draws=200, num=10)


@pytest.mark.slow
def test_kernel_distance_is_unbiased_over_many_draws():
    for num in (5, 20, 50):
        _check_kernel_distance_is_centred_at_zero(num_draws=2000, num=num)


def _null_p_values(num_draws):
    rng = np.random.default_rng(6)
    return [permutation_p_value(*(rng.normal(size=(n, 4)) for n in (8, 10)), 99, rng) for _ in range(num_draws)]


def test_p_values_are_roughly_uniform_under_equality():
    assert scipy.stats.kstest(_null_p_values(150), "uniform").pvalue > 0.01


@pytest.mark.slow
def test_false_alarms_keep_their_rate():
    alarms = sum(p <= 0.05 for p in _null_p_values(500))
    assert 0.02 * 500 <= alarms <= 0.08 * 500


def _enumerated_share(pooled, num_first, statistic):
    everyone = range(len(pooled))
    values = []
    for first in combinations(everyone, num_first):
        second = [i for i in everyone if i not in first]
        values.append(statistic(pooled[list(first)], pooled[second]))
    return np.mean(np.array(values) >= values[0] - 1e-9)  # combinations() starts with the observed


def test_permutation_p_value_is_near_the_exhaustive_one():
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(3, 2)), rng.normal(size=(4, 2)) + 0.8
    exact = _enumerated_share(np.concatenate([x, y]), 3, _loop_kernel_distance)
    assert 0.05 < exact < 0.95
    estimate = permutation_p_value(x, y, 8000, np.random.default_rng(8))
    assert estimate == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 8000))


def test_the_test_finds_a_clear_difference():
    rng = np.random.default_rng(11)
    real, far = (rng.normal(size=(20, 4)) + shift for shift in (0, 3))
    assert permutation_p_value(real, far, 199, rng) == 1 / 200


def test_relabellings_equal_to_the_observed_one_count_as_ties():
    # With 2 + 2 images a third of all relabellings is the observed partition, so p cannot be below a third.
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=(2, 40)), rng.normal(size=(2, 40)) + 50
    assert permutation_p_value(x, y, 3000, rng) > 0.3


GOOD = np.random.default_rng(14).normal(size=(5, 3))
BAD = {
    "1 image": GOOD[:1],
    "NaN": np.where(np.arange(3) == 1, np.nan, GOOD),
    "infinity": np.where(np.arange(3) == 1, np.inf, GOOD),
    "equal": np.repeat(GOOD[:1], 5, axis=0),
    "width": GOOD[:, :2],
}


@pytest.mark.parametrize("problem", BAD)
@pytest.mark.parametrize(
    "function",
    [
        frechet_distance,
        kernel_distance,
        lambda x, y: permutation_p_value(x, y, 99, np.random.default_rng(0)),
    ],
    ids=["frechet", "kernel", "permutation"],
)
def test_unfit_features_are_refused_by_name(function, problem):
    with pytest.raises(ValueError, match=rf"^y: .*{problem}"):
        function(GOOD, BAD[problem])
    if problem != "width":
        with pytest.raises(ValueError, match=rf"^x: .*{problem}"):
            function(BAD[problem], GOOD)


def test_kernel_distance_is_torch_fidelitys():
    from torch_fidelity.metric_kid import kid_features_to_metric

    rng = np.random.default_rng(20)
    x, y = rng.normal(size=(60, 24)), rng.normal(0.3, 1.2, size=(60, 24))
    theirs = kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=1, kid_subset_size=60, kid_degree=3, verbose=False
    )["kernel_inception_distance_mean"]
    assert kernel_distance(x, y) == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("num", [10, 20, *(pytest.param(num, marks=pytest.mark.slow) for num in (50, 200))])
def test_under_equality_the_mean_is_zero_and_false_alarms_keep_their_rate(num: int):
    # of 500 draws a right test has fewer than 3 % or more than 7 % of alarms once in 25 runs, of 2000 hardly ever
    rng = np.random.default_rng(0)
    values, alarms, num_draws = [], 0, 2000
    for _ in range(num_draws):
        x, y = rng.normal(size=(2, num, 16)) * np.arange(1, 17) ** -0.7
        values.append(kernel_distance(x, y))
        alarms += permutation_p_value(x, y, 199, rng) <= 0.05
    assert abs(np.mean(values)) <= 2 * np.std(values, ddof=1) / np.sqrt(num_draws)
    assert 0.03 <= alarms / num_draws <= 0.07


def jackknife(statistic, sets: list[np.ndarray]) -> float:
    """The standard error by recomputing without each image of each set."""
    variance = 0.0
    for place, rows in enumerate(sets):
        others = [np.delete(rows, i, axis=0) for i in range(len(rows))]
        values = np.array([statistic(*sets[:place], rest, *sets[place + 1 :]) for rest in others])
        variance += (len(rows) - 1) / len(rows) * ((values - values.mean()) ** 2).sum()
    return float(np.sqrt(variance))


def test_the_standard_error_is_the_jackknife_by_recomputing():
    rng = np.random.default_rng(21)
    real, near = rng.normal(size=(9, 5)), rng.normal(0.2, 1, size=(7, 5))
    assert kernel_standard_error(real, near) == pytest.approx(jackknife(kernel_distance, [real, near]), rel=1e-10)


def test_the_interval_of_a_true_difference_covers_it():
    rng = np.random.default_rng(22)
    scale = np.arange(1, 9) ** -0.5

    def draw(shift: float, num: int) -> np.ndarray:
        return rng.normal(size=(num, 8)) * scale + shift

    truth = kernel_distance(draw(0.5, 4000), draw(0, 4000))
    covered = 0
    for _ in range(300):
        x, y = draw(0.5, 40), draw(0, 40)
        covered += abs(kernel_distance(x, y) - truth) <= 1.96 * kernel_standard_error(x, y)
    assert 0.88 <= covered / 300 <= 0.99


def test_cmmd_is_the_double_loop_over_unit_vectors():
    rng = np.random.default_rng(23)
    x, y = rng.normal(1, 1, size=(6, 4)), rng.normal(0.4, 1, size=(5, 4))
    u, v = ([z / np.linalg.norm(z) for z in rows] for rows in (x, y))

    def kernel(a, b):
        return np.exp(-((a - b) ** 2).sum() / 200.0)

    within_u = np.mean([kernel(a, b) for i, a in enumerate(u) for j, b in enumerate(u) if i != j])
    within_v = np.mean([kernel(a, b) for i, a in enumerate(v) for j, b in enumerate(v) if i != j])
    between = np.mean([kernel(a, b) for a in u for b in v])
    assert cmmd(x, y) == pytest.approx(1000 * (within_u + within_v - 2 * between), abs=1e-9)


def test_cmmd_is_centred_at_zero_where_the_usual_code_is_not():
    rng = np.random.default_rng(24)
    values = [cmmd(*(rng.normal(size=(2, 10, 32)) + 1.0)) for _ in range(400)]
    assert abs(np.mean(values)) <= 3 * np.std(values) / np.sqrt(400)


def test_too_few_for_a_jackknife_and_vectors_without_direction_are_refused():
    rng = np.random.default_rng(25)
    x, two = rng.normal(size=(5, 3)), rng.normal(size=(2, 3))
    with pytest.raises(ValueError, match=r"^y: 2 image"):
        kernel_standard_error(x, two)
    with pytest.raises(ValueError, match="y: feature vector 1 is zero"):
        cmmd(x, np.array([[1.0, 0, 0], [0, 0, 0]]))
