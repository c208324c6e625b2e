"""The test of "nearer" against explicit recomputation, and p and interval against each other."""

from itertools import combinations

import numpy as np
import pytest

from flowerti.metrics.kernel import gram, kernel_distance, relabellings
from flowerti.metrics.nearer import compare_nearness, exchanged_differences


def drawn(*sets, seed=0, width=4):
    """Normal features of (number, shift) each."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(num, width)) + shift for num, shift in sets]


def difference(real, near, far):
    return kernel_distance(far, real) - kernel_distance(near, real)


def jackknife_variance(sets):
    """By recomputing the difference without each image of each set."""
    variance = 0.0
    for place, rows in enumerate(sets):
        without = [[*sets[:place], np.delete(rows, i, axis=0), *sets[place + 1 :]] for i in range(len(rows))]
        variance += (len(rows) - 1) ** 2 / len(rows) * np.var([difference(*others) for others in without], ddof=1)
    return variance


def variance_parts(real, near, far):
    """Variance by single images and by pairs, from mean products over distinct images, one loop a product."""
    excess = pair = 0.0
    for rows in (near, far):
        n, r = len(rows), len(real)
        k, to_real = gram(rows, rows), gram(rows, real)
        distinct = {size: list(combinations(range(n), size)) for size in (2, 3, 4)}
        one = np.mean([k[i, j] ** 2 for i, j in distinct[2]])
        shared = np.mean([(k[i, j] * k[i, m] + k[j, i] * k[j, m] + k[m, i] * k[m, j]) / 3 for i, j, m in distinct[3]])
        none = np.mean([(k[a, b] * k[c, d] + k[a, c] * k[b, d] + k[a, d] * k[b, c]) / 3 for a, b, c, d in distinct[4]])
        within = one - 2 * shared + none
        centred = to_real - to_real.mean(axis=0) - to_real.mean(axis=1, keepdims=True) + to_real.mean()
        across = (centred**2).sum() / ((n - 1) * (r - 1))
        pair += 2 * within / (n * (n - 1)) + 4 * across / (n * r)
        excess += (4 / (n * (n - 2)) - 2 / (n * (n - 1))) * within + 4 * across / (n * r)
    return jackknife_variance([real, near, far]) - excess - pair, pair


def test_differences_and_variances_are_those_of_each_labelling():
    real, near, far = drawn((7, 0), (5, 0.3), (6, 0.6))
    pooled = np.concatenate([near, far])
    is_near = relabellings(5, 6, 4, np.random.default_rng(1))
    found = exchanged_differences(real, near, far, is_near.astype(float))
    for draw, first in enumerate(is_near):
        sets = [real, pooled[first], pooled[~first]]
        assert found.differences[draw] == pytest.approx(difference(*sets), rel=1e-10)
        assert found.jackknife[draw] == pytest.approx(jackknife_variance(sets), rel=1e-10)
        assert (found.single[draw], found.pair[draw]) == pytest.approx(variance_parts(*sets), rel=1e-8)


@pytest.mark.parametrize(("near_shift", "far_shift"), [(0, 0), (0.4, -0.4)])
def test_the_variance_is_unbiased_where_the_jackknife_counts_pairs_twice(near_shift, far_shift):
    rng, num_draws = np.random.default_rng(2), 2000
    observed = np.array([[1.0] * 6 + [0.0] * 6])
    values, unbiased, jackknife = np.zeros((3, num_draws))
    for draw in range(num_draws):
        sets = [rng.normal(size=(6, 3)) + shift for shift in (0, near_shift, far_shift)]
        found = exchanged_differences(*sets, observed)
        values[draw], unbiased[draw] = found.differences[0], found.single[0] + found.pair[0]
        jackknife[draw] = found.jackknife[0]
    # the square of a difference has a heavy tail: a standard error of the variance of about 5 %
    assert unbiased.mean() == pytest.approx(values.var(), rel=0.2)
    assert jackknife.mean() > 1.3 * values.var()


def test_the_p_of_one_distribution_is_near_the_exhaustive_one():
    real, near, far = drawn((6, 0), (4, 0), (5, 0), seed=10)
    pooled = np.concatenate([near, far])
    ratios, shares = [], []
    for first in combinations(range(9), 4):
        sets = [real, pooled[list(first)], np.delete(pooled, list(first), axis=0)]
        single, pair = variance_parts(*sets)
        ratios.append(difference(*sets) / np.sqrt(max(single, 0) + pair))
        shares.append((single, pair))
    assert shares[0][0] < 0  # so that nothing of Student's t is mixed in
    exact = np.mean(np.array(ratios) >= ratios[0] - 1e-9)  # combinations() starts with the observed
    assert 0.05 < exact < 0.95
    found = compare_nearness(real, near, far, 8000, np.random.default_rng(10))
    assert found.difference == pytest.approx(difference(real, near, far), rel=1e-10)
    assert found.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 8000))


@pytest.mark.parametrize("num_exchanges", [40, 99, 199, 399])
def test_p_and_interval_never_contradict_each_other(num_exchanges):
    rng = np.random.default_rng(12)
    num_above = num_below = 0
    for draw in range(300):
        num, shift = int(rng.integers(4, 14)), rng.uniform(-1.5, 1.5)
        real, near, far = (rng.normal(size=(num, 3)) + move for move in (0, 0.7, shift))
        found = compare_nearness(real, near, far, num_exchanges, np.random.default_rng(draw))
        assert (found.p_value < 0.025) == (found.low > 0)
        assert found.low <= found.high
        # the other end belongs to the test of the opposite claim: p of at most 0.5 and an interval below 0 exclude it
        assert found.high > 0 or found.p_value > 0.5
        num_above, num_below = num_above + (found.low > 0), num_below + (found.high < 0)
    assert min(num_above, num_below) > 5


def test_the_interval_of_the_opposite_comparison_is_the_mirror_image():
    real, near, far = drawn((12, 0), (12, 0.4), (12, 0.6), seed=3)
    one, other = (
        compare_nearness(real, *sets, 20_000, np.random.default_rng(4)) for sets in ((near, far), (far, near))
    )
    assert one.difference == pytest.approx(-other.difference)
    width = one.high - one.low
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.05 * width)
    assert one.p_value + other.p_value == pytest.approx(1, abs=0.02)


def test_the_interval_covers_the_true_difference():
    rng = np.random.default_rng(22)
    scale = np.arange(1, 9) ** -0.5

    def draw(shift, num):
        return rng.normal(size=(num, 8)) * scale + shift

    truth = difference(draw(0, 3000), draw(0.2, 3000), draw(-0.5, 3000))
    covered = 0
    for _ in range(200):
        found = compare_nearness(draw(0, 30), draw(0.2, 30), draw(-0.5, 30), 199, rng)
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / 200 <= 0.985


def test_a_clear_difference_is_found_in_the_right_direction():
    real, near, far = drawn((20, 0), (20, 0), (20, 3), seed=11)
    found = compare_nearness(real, near, far, 199, np.random.default_rng(0))
    assert found.p_value == 1 / 200 and found.low > 0
    backwards = compare_nearness(real, far, near, 199, np.random.default_rng(0))
    assert backwards.difference < 0 and backwards.high < 0
    assert backwards.p_value == 1.0


@pytest.mark.parametrize("sizes", [(4, 4, 3), (4, 3, 4), (3, 4, 4), (2, 2, 2)])
def test_too_few_images_have_a_difference_and_no_verdict(sizes):
    real, near, far = drawn(*((size, shift) for size, shift in zip(sizes, (0, 0, 3), strict=True)))
    found = compare_nearness(real, near, far, 99, np.random.default_rng(0))
    assert found.difference == pytest.approx(difference(real, near, far), rel=1e-10)
    assert (found.p_value, found.low, found.high) == (None, None, None)


def test_one_set_given_twice_lies_no_nearer_to_the_real_images_than_itself():
    real, near = drawn((8, 0), (8, 0.5))
    found = compare_nearness(real, near, near, 199, np.random.default_rng(0))
    assert found.difference == pytest.approx(0, abs=1e-9)
    assert found.low < 0 < found.high and found.p_value > 0.3


@pytest.mark.parametrize("name", ["real", "near", "far"])
def test_the_unfit_set_is_named(name):
    sets = dict(zip(("real", "near", "far"), drawn((5, 0), (5, 0), (5, 0)), strict=True))
    with pytest.raises(ValueError, match=f"^{name}: holds NaN"):
        compare_nearness(**sets | {name: np.full((5, 4), np.nan)}, num_exchanges=99, rng=np.random.default_rng(0))


def test_too_few_exchanges_are_refused():
    with pytest.raises(ValueError, match=r"^num_exchanges: 39; .*at least 40"):
        compare_nearness(*drawn((5, 0), (5, 0), (5, 0)), num_exchanges=39, rng=np.random.default_rng(0))
