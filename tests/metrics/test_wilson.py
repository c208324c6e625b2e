"""The interval against its closed form."""

import numpy as np
import pytest

from flowerti.metrics.wilson import wilson_interval


@pytest.mark.parametrize(("hits", "num"), [(0, 10), (8, 10), (10, 10), (1, 1), (250, 400)])
@pytest.mark.parametrize(("level", "z"), [(0.95, 1.959963984540054), (0.9, 1.6448536269514722)])
def test_wilsons_interval_is_its_closed_form(hits: int, num: int, level: float, z: float):
    share = hits / num
    centre = (share + z**2 / (2 * num)) / (1 + z**2 / num)
    half = z / (1 + z**2 / num) * np.sqrt(share * (1 - share) / num + z**2 / (4 * num**2))
    assert wilson_interval(hits, num, level) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_no_hits_and_no_misses_end_at_0_and_1():
    assert wilson_interval(0, 7)[0] == 0.0
    assert wilson_interval(7, 7)[1] == 1.0


def test_wilsons_interval_refuses_what_is_no_share():
    for hits, num in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="num_hits"):
            wilson_interval(hits, num)
