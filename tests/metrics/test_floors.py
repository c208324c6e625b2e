"""Floors between halves of the real images."""

import numpy as np
import pytest

from flowerti.metrics.floors import floor
from flowerti.metrics.kernel import kernel_distance


def test_floor_averages_over_disjoint_halves_of_the_real_images():
    real = np.arange(9, dtype=np.float64)[:, None]
    seen = []

    def distance(first, second):
        seen.append((set(first[:, 0]), set(second[:, 0])))
        return float(len(seen))

    mean, num_per_side = floor(real, 5, np.random.default_rng(13), distance)
    assert (mean, num_per_side) == (3.0, 4)
    assert all(len(a) == len(b) == 4 and not a & b for a, b in seen)
    assert len({frozenset(a) for a, _ in seen}) > 1


def test_floor_needs_four_images():
    with pytest.raises(ValueError, match="3 image"):
        floor(np.eye(3), 1, np.random.default_rng(0), kernel_distance)
