"""Worth by hand, and by a curve whose truth is known."""

import math

import numpy as np
import pytest

from flowerti.artifacts.ceiling import Ceiling, CeilingRow
from flowerti.artifacts.records import SweepRow
from flowerti.ceiling.worth import Curve, Gain, curve_of, worth_of, worth_rows
from flowerti.tables import Table
from flowerti.tables.arms import ARMS, arm_of, replaced_on
from flowerti.tables.sources import SOURCES


def exactly(value: float) -> Gain:
    return Gain(value=value, low=value, high=value)


def test_a_number_of_real_images_is_worth_itself():
    truth = {num: 0.3 * (1 - math.exp(-num / 8)) for num in (1, 2, 5, 10, 20)}
    curve = curve_of(list(truth), [exactly(gain) for gain in truth.values()])
    for num, gain in truth.items():
        found = worth_of(curve, exactly(gain))
        assert (found.value, found.low, found.high) == pytest.approx((num, num, num))
    between = worth_of(curve, exactly((truth[5] + truth[10]) / 2))
    assert between.value == pytest.approx(7.5), "along a straight line"


def test_what_gains_nothing_is_worth_no_image_and_what_gains_more_is_worth_more_than_were_tried():
    curve = curve_of([1, 4], [exactly(0.1), exactly(0.2)])
    assert worth_of(curve, exactly(0.0)).value == worth_of(curve, exactly(-0.3)).value == 0
    assert worth_of(curve, exactly(0.2)).value == 4
    assert worth_of(curve, exactly(0.21)).value == math.inf


def test_the_interval_allows_for_the_gain_and_for_the_curve():
    gains = [Gain(value=0.1, low=0.05, high=0.15), Gain(value=0.2, low=0.1, high=0.3)]
    found = worth_of(curve_of([1, 3], gains), Gain(value=0.15, low=0.075, high=0.1))
    assert found.value == pytest.approx(2.0)
    assert found.low == pytest.approx(0.5), "0.075 is half of 0.15, which one image gains at most"
    assert found.high == pytest.approx(3.0), "0.1 is what three images gain at least"


def test_a_fall_by_chance_is_levelled():
    curve = curve_of([1, 2, 5], [exactly(0.2), exactly(0.1), exactly(0.3)])
    assert curve.gain == pytest.approx([0, 0.15, 0.15, 0.3], abs=1e-6)
    assert isinstance(curve, Curve) and np.all(np.diff(curve.gain) >= -1e-12)
    assert worth_of(curve, exactly(0.15)).value <= 2 + 1e-9
    below = curve_of([1, 2], [exactly(-0.1), exactly(0.1)])
    assert below.gain[0] == pytest.approx(0, abs=1e-6)


def test_images_are_worth_what_their_gain_over_the_same_control_is():
    """Arms on another control, and added images, gain something else as well, and have no row."""
    curve = [
        CeilingRow(
            arm="balanced+unseen_real", label="", kind="unseen_real", control="balanced", num_more=num, f1=0.5,
            gain=gain, low=gain, high=gain,
        )
        for num, gain in ((1, 0.1), (4, 0.2))
    ]  # fmt: skip
    rehearsed = Ceiling(
        class_names=["a"], num_kept=3, num_draws=2, control="balanced", control_label="", rows=curve, headroom=0.2,
        headroom_low=0.2, headroom_high=0.2, num_headroom=4, detectable_effect=0.1, learning_rate_factors={},
    )  # fmt: skip
    arms = [replaced_on(ARMS["balanced"], SOURCES["token"]), replaced_on(ARMS["real"], SOURCES["token"])]
    arms += [arm_of(SOURCES["token"]), ARMS["balanced"]]
    rows = [
        SweepRow(
            split="test", arm=arm.name, ratio=0.3, num_repetitions=2, macro_f1=0.5, macro_f1_low=0.5, macro_f1_high=0.5,
            weak_f1=0.5, weak_f1_low=0.5, weak_f1_high=0.5, rest_f1=0.5, weak_gain=0.9, weak_gain_low=0.9,
            weak_gain_high=0.9, weak_gain_p=0.5, rest_gain=0.0, content_gain=0.15, content_gain_low=0.05,
            content_gain_high=0.25,
        )
        for arm in arms
    ]  # fmt: skip
    (row,) = worth_rows(rehearsed, rows, Table("arm", arms), {"token": 40})
    assert (row.arm, row.num_images, row.most) == ("balanced+token_replace", 40, 4)
    assert (row.worth, row.worth_low) == (pytest.approx(2.5), pytest.approx(0.5))
    assert row.worth_high is None, "more than the four that were tried"
