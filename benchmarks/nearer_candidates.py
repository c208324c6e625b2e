"""Tests of "nearer" among which the present one was chosen, each as a one-sided p. LOG.md has the table.

This module does not know what the sets are drawn from.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64
from scipy import stats

from flowerti.metrics.kernel import relabellings
from flowerti.metrics.nearer import Differences, compare_nearness, exchanged_differences

Features = Float64[np.ndarray, "_ _"]
Candidate = Callable[[Features, Features, Features, int, np.random.Generator], float]
"""Of the real images, the set claimed to lie nearer, the other one, the number of exchanges and their generator."""


def chosen(real: Features, near: Features, far: Features, num_exchanges: int, rng: np.random.Generator) -> float:
    """What `flowerti` uses."""
    p_value = compare_nearness(real, near, far, num_exchanges, rng).p_value
    return 1.0 if p_value is None else p_value


def exchange(real: Features, near: Features, far: Features, num_exchanges: int, rng: np.random.Generator) -> float:
    """The bare difference under exchange, in use until November 2026: it tests that both sets are equal."""
    return _share_reached(_exchanged(real, near, far, num_exchanges, rng).differences)


def exchange_over_jackknife(
    real: Features, near: Features, far: Features, num_exchanges: int, rng: np.random.Generator
) -> float:
    """The difference over its jackknife error under exchange."""
    found = _exchanged(real, near, far, num_exchanges, rng)
    return _share_reached(found.differences / np.sqrt(found.jackknife))


def exchange_over_error(
    real: Features, near: Features, far: Features, num_exchanges: int, rng: np.random.Generator
) -> float:
    """The difference over the root of its unbiased variance under exchange."""
    found = _exchanged(real, near, far, num_exchanges, rng)
    return _share_reached(found.differences / found.standard_errors)


def jackknife_normal(
    real: Features, near: Features, far: Features, num_exchanges: int, rng: np.random.Generator
) -> float:
    """The difference over its jackknife error, against the normal distribution."""
    found = _exchanged(real, near, far, 0, rng)
    return float(stats.norm.sf(found.differences[0] / np.sqrt(found.jackknife[0])))


def jackknife_t(real: Features, near: Features, far: Features, num_exchanges: int, rng: np.random.Generator) -> float:
    """The difference over its jackknife error, against Student's t with one less than the images of a set."""
    found = _exchanged(real, near, far, 0, rng)
    return float(stats.t.sf(found.differences[0] / np.sqrt(found.jackknife[0]), len(near) - 1))


def unbiased_t(real: Features, near: Features, far: Features, num_exchanges: int, rng: np.random.Generator) -> float:
    """The difference over the root of its unbiased variance, against Student's t."""
    found = _exchanged(real, near, far, 0, rng)
    return float(stats.t.sf(found.differences[0] / found.standard_errors[0], len(near) - 1))


CANDIDATES: dict[str, Candidate] = {
    function.__name__: function
    for function in (
        chosen,
        exchange,
        exchange_over_jackknife,
        exchange_over_error,
        jackknife_normal,
        jackknife_t,
        unbiased_t,
    )
}


def _exchanged(
    real: Features, near: Features, far: Features, num_exchanges: int, rng: np.random.Generator
) -> Differences:
    is_near = relabellings(len(near), len(far), num_exchanges, rng)
    return exchanged_differences(real, near, far, is_near.astype(np.float64))


def _share_reached(values: Float64[np.ndarray, " draws"]) -> float:
    return float((1 + (values[1:] >= values[0] - 1e-12).sum()) / len(values))
