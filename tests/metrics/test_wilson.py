"""The interval against its equation."""

import numpy as np
import pytest

from flowerti.metrics.wilson import wilson_interval


@pytest.mark.parametrize(("hits", "num"), [(0, 10), (8, 10), (10, 10), (250, 400)])
def test_wilsons_interval_solves_its_equation(hits: int, num: int):
    for end in wilson_interval(hits, num):
        if 1e-12 < end < 1 - 1e-12:
            assert abs(hits / num - end) == pytest.approx(1.959963985 * np.sqrt(end * (1 - end) / num), rel=1e-6)


def test_wilsons_interval_refuses_what_is_no_share():
    for hits, num in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="num_hits"):
            wilson_interval(hits, num)
