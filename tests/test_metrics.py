"""Distances, their tests and F1 against closed forms, SciPy, plain loops and exhaustive enumeration."""

from itertools import combinations

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from flowerti import metrics


def _with_exact_moments(rng, num, mean, scale):
    centred = rng.normal(size=(num, len(mean)))
    centred -= centred.mean(axis=0)
    orthonormal, _ = np.linalg.qr(centred)
    return np.asarray(mean) + orthonormal * np.sqrt(num - 1) * np.asarray(scale)


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


def test_frechet_is_the_closed_form_for_diagonal_gaussians():
    rng = np.random.default_rng(0)
    mean_x, mean_y = np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 0.5])
    scale_x, scale_y = np.array([1.0, 2.0, 0.1]), np.array([3.0, 2.0, 0.7])
    x = _with_exact_moments(rng, 12, mean_x, scale_x)
    y = _with_exact_moments(rng, 30, mean_y, scale_y)
    expected = ((mean_x - mean_y) ** 2).sum() + ((scale_x - scale_y) ** 2).sum()
    assert metrics.frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_frechet_is_the_matrix_root_form_for_full_covariances():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6))
    y = rng.normal(size=(25, 6)) @ rng.normal(size=(6, 6)) + 1
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.real(scipy.linalg.sqrtm(cov_x @ cov_y))
    shift = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    expected = shift + np.trace(cov_x + cov_y - 2 * root)
    assert metrics.frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)


def test_frechet_holds_with_fewer_pictures_than_features():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(8, 30)), 2 * rng.normal(size=(5, 30))
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    roots = np.sqrt(np.clip(np.linalg.eigvals(cov_x @ cov_y).real, 0, None)).sum()
    shift = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    expected = shift + np.trace(cov_x) + np.trace(cov_y) - 2 * roots
    assert metrics.frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_a_set_with_itself_is_zero_but_for_rounding():
    x = np.random.default_rng(3).normal(size=(20, 50)).astype(np.float32)
    assert abs(metrics.frechet_distance(x, x)) < 1e-10


def test_kernel_distance_is_the_double_loop():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 0.5
    assert metrics.kernel_distance(x, y) == pytest.approx(_loop_kernel_distance(x, y), rel=1e-12)


def test_float32_features_are_summed_in_float64():
    rng = np.random.default_rng(5)
    x, y = (rng.normal(size=(6, 4)).astype(np.float32) + 30 for _ in range(2))
    expected = _loop_kernel_distance(x.astype(np.float64), y.astype(np.float64))
    assert metrics.kernel_distance(x, y) == pytest.approx(expected, rel=1e-7)


def _check_kernel_distance_is_centred_at_zero(num_draws, num):
    rng = np.random.default_rng(num)
    draws = [metrics.kernel_distance(rng.normal(size=(num, 6)), rng.normal(size=(num, 6))) for _ in range(num_draws)]
    standard_error = np.std(draws, ddof=1) / np.sqrt(num_draws)
    assert abs(np.mean(draws)) < 3 * standard_error
    # Keeping the diagonals (the V-statistic) would add this much: the check above must be able to see it.
    diagonal = np.mean([metrics.gram(v, v)[0, 0] for v in rng.normal(size=(200, 1, 6))])
    assert 2 * (diagonal - 1) / num > 10 * standard_error


def test_kernel_distance_is_unbiased():
    _check_kernel_distance_is_centred_at_zero(num_draws=200, num=10)


@pytest.mark.slow
def test_kernel_distance_is_unbiased_over_many_draws():
    for num in (5, 20, 50):
        _check_kernel_distance_is_centred_at_zero(num_draws=2000, num=num)


def _null_p_values(num_draws, kind):
    rng = np.random.default_rng(6)
    values = []
    for _ in range(num_draws):
        real, x, y = (rng.normal(size=(n, 4)) for n in (6, 8, 10))
        if kind == "same":
            values.append(metrics.permutation_p_value(x, y, 99, rng))
        else:
            values.append(metrics.closer_p_value(real, x, y, 99, rng)[1])
    return values


@pytest.mark.parametrize("kind", ["same", "closer"])
def test_p_values_are_roughly_uniform_under_equality(kind):
    values = _null_p_values(150, kind)
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["same", "closer"])
def test_false_alarms_keep_their_rate(kind):
    alarms = sum(p <= 0.05 for p in _null_p_values(500, kind))
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
    estimate = metrics.permutation_p_value(x, y, 8000, np.random.default_rng(8))
    assert estimate == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 8000))


def test_closer_p_value_is_near_the_exhaustive_one():
    rng = np.random.default_rng(9)
    real, near, far = (rng.normal(size=(n, 2)) + s for n, s in ((5, 0), (3, 0.2), (4, 0.6)))

    def difference(near, far):
        return _loop_kernel_distance(far, real) - _loop_kernel_distance(near, real)

    exact = _enumerated_share(np.concatenate([near, far]), 3, difference)
    assert 0.05 < exact < 0.95
    value, p_value = metrics.closer_p_value(real, near, far, 8000, np.random.default_rng(10))
    assert value == pytest.approx(difference(near, far), rel=1e-10)
    assert p_value == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 8000))


def test_tests_find_a_clear_difference_in_the_right_direction():
    rng = np.random.default_rng(11)
    real, near, far = (rng.normal(size=(20, 4)) + shift for shift in (0, 0, 3))
    assert metrics.permutation_p_value(real, far, 199, rng) == 1 / 200
    assert metrics.closer_p_value(real, near, far, 199, rng)[1] == 1 / 200
    backwards, p_value = metrics.closer_p_value(real, far, near, 199, rng)
    assert backwards < 0
    assert p_value == 1.0


def test_relabellings_equal_to_the_observed_one_count_as_ties():
    # With 2 + 2 pictures a third of all relabellings is the observed partition, so p cannot be below a third.
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=(2, 40)), rng.normal(size=(2, 40)) + 50
    assert metrics.permutation_p_value(x, y, 3000, rng) > 0.3


def test_floor_averages_over_disjoint_halves_of_the_real_pictures():
    real = np.arange(9, dtype=np.float64)[:, None]
    seen = []

    def distance(first, second):
        seen.append((set(first[:, 0]), set(second[:, 0])))
        return float(len(seen))

    mean, num_per_side = metrics.floor(real, 5, np.random.default_rng(13), distance)
    assert (mean, num_per_side) == (3.0, 4)
    assert all(len(a) == len(b) == 4 and not a & b for a, b in seen)
    assert len({frozenset(a) for a, _ in seen}) > 1


GOOD = np.random.default_rng(14).normal(size=(5, 3))
BAD = {
    "1 picture": GOOD[:1],
    "NaN": np.where(np.arange(3) == 1, np.nan, GOOD),
    "infinity": np.where(np.arange(3) == 1, np.inf, GOOD),
    "equal": np.repeat(GOOD[:1], 5, axis=0),
    "width": GOOD[:, :2],
}


@pytest.mark.parametrize("problem", BAD)
@pytest.mark.parametrize(
    "function",
    [
        metrics.frechet_distance,
        metrics.kernel_distance,
        lambda x, y: metrics.permutation_p_value(x, y, 99, np.random.default_rng(0)),
    ],
    ids=["frechet", "kernel", "permutation"],
)
def test_unfit_features_are_refused_by_name(function, problem):
    with pytest.raises(ValueError, match=rf"^y: .*{problem}"):
        function(GOOD, BAD[problem])
    if problem != "width":
        with pytest.raises(ValueError, match=rf"^x: .*{problem}"):
            function(BAD[problem], GOOD)


@pytest.mark.parametrize("name", ["near", "far"])
def test_closer_names_the_unfit_set(name):
    sets = {"near": GOOD, "far": GOOD} | {name: BAD["NaN"]}
    with pytest.raises(ValueError, match=f"^{name}: "):
        metrics.closer_p_value(GOOD, **sets, num_permutations=99, rng=np.random.default_rng(0))


def test_floor_needs_four_pictures():
    with pytest.raises(ValueError, match="3 picture"):
        metrics.floor(GOOD[:3], 1, np.random.default_rng(0), metrics.frechet_distance)


def _loop_f1(true_ids, predicted_ids, class_id):
    pairs = list(zip(true_ids, predicted_ids, strict=True))
    hits = sum(t == class_id == p for t, p in pairs)
    wrong = sum((t == class_id) != (p == class_id) for t, p in pairs)
    return 0.0 if hits == wrong == 0 else hits / (hits + wrong / 2)


def test_f1_is_the_hand_count_for_every_trial():
    rng = np.random.default_rng(15)
    true_ids = rng.integers(0, 4, size=30)
    predicted = np.where(rng.random((2, 3, 30)) < 0.5, true_ids, rng.integers(0, 4, (2, 3, 30)))
    scores = metrics.f1_scores(true_ids, predicted, 6)  # classes 4 and 5 occur nowhere
    assert scores.shape == (2, 3, 6)
    for index in np.ndindex(scores.shape):
        expected = _loop_f1(true_ids.tolist(), predicted[index[:2]].tolist(), index[2])
        assert scores[index] == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(metrics.f1_scores(true_ids, predicted[1, 2], 6), scores[1, 2])


@pytest.mark.parametrize("bad_id", [-1, 3])
def test_f1_refuses_class_ids_out_of_range(bad_id):
    ids = np.array([0, 1, 2])
    with pytest.raises(ValueError, match=r"^predicted_ids: "):
        metrics.f1_scores(ids, np.array([0, bad_id, 2]), 3)
    with pytest.raises(ValueError, match=r"^true_ids: "):
        metrics.f1_scores(np.array([0, bad_id, 2]), ids, 3)
