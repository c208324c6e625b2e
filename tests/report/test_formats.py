"""Numbers as the page writes them."""

import math

import pytest

from flowerti.report.formats import decimals, duration, fixed, p_value, signed, times


@pytest.mark.parametrize(
    ("value", "shown"), [(0.1234, "0.123"), (-0.5, "−0.500"), (-0.0001, "0.000"), (None, "–"), (math.nan, "–")]
)
def test_fixed(value, shown):
    assert fixed(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.1, "+0.100"), (-0.1, "−0.100"), (0.0, "0.000"), (0.0001, "0.000"), (None, "–")]
)
def test_signed(value, shown):
    assert signed(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.05, "0.0500"), (0.00005, "< 0.0001"), (0.0001, "0.0001"), (None, "–")])
def test_p_value(value, shown):
    assert p_value(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (59.6, "1 min 00 s"), (41.2, "41 s"), (130.0, "2 min 10 s"), (4000.0, "1 h 06 min"), (None, "–")],
)
def test_duration(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(("num", "shown"), [(0, "never"), (1, "once"), (2, "twice"), (3, "3 times"), (21, "21 times")])
def test_times(num, shown):
    assert times(num) == shown


@pytest.mark.parametrize(
    ("values", "num"),
    [([190.0, 0.1], 0), ([1.9], 2), ([0.019, None], 4), ([-25.0], 1), ([1e-9], 6), ([], 2), ([0.0], 2)],
)
def test_decimals_leave_three_digits_to_the_largest(values, num):
    assert decimals(values) == num
