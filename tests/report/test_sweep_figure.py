"""The sweep's chart: places, arms that have no name here, and numbers that are missing."""

import dataclasses
import math

import numpy as np
from finished_sweep import sweep, sweep_row
from page_reader import pixels

from flowerti.report.canvas import WIDTH_PX
from flowerti.report.sweep_figure import has_gains, sweep_png


def drawn(rows):
    """The chart of some rows, with the arms of a whole sweep."""
    return sweep_png(rows, sweep().arms)


def vermilion(png):
    return np.abs(pixels(png).astype(int) - (0xD5, 0x5E, 0x00)).sum(axis=2) < 30


def test_a_whole_sweep_has_the_common_width():
    assert pixels(drawn(sweep().rows)).shape[1] == WIDTH_PX


def test_one_split_unknown_arms_and_missing_numbers_do_no_harm():
    rows = [sweep_row("validation", "token", 1.0, 0.1), sweep_row("validation", "dreambooth", 1.0, 0.2)]
    usual = drawn(rows)
    broken = dataclasses.replace(rows[0], ratio=2.0, weak_gain=math.nan)
    assert drawn([*rows, broken]) == usual
    assert drawn([sweep_row("test", "augmented", 0.0, 0.1)])
    assert drawn([dataclasses.replace(rows[0], weak_gain_low=0.2, weak_gain_high=0.0)])


def test_an_arm_without_a_plain_name_stands_under_its_own():
    def chart(arm):
        return drawn([sweep_row("validation", arm, ratio, 0.1) for ratio in (0.0, 1.0)])

    assert chart("shuffled_token") != chart("token+balanced")


def test_unknown_arms_have_different_colours_that_are_the_same_on_both_splits():
    def colours(split):
        rows = [sweep_row(split, arm, 1.0, gain) for arm, gain in (("one", 0.3), ("two", -0.3))]
        image = pixels(drawn([*rows, sweep_row("validation", "balanced", 0.0, 0.0)]))
        return set(map(tuple, image.reshape(-1, 3)))

    both = colours("validation") & colours("test")
    assert {(0xCC, 0x79, 0xA7), (0x8C, 0x6D, 0x1F)} <= both


def test_a_larger_gain_is_drawn_higher():
    def height(gain):
        rows = [sweep_row("validation", "balanced", 0.0, 0.5), sweep_row("validation", "augmented", 0.0, -0.5)]
        image = vermilion(drawn([*rows, sweep_row("validation", "token", 1.0, gain)]))
        return np.argwhere(image[: int(0.8 * len(image))])[:, 0].mean()

    assert height(0.4) < height(0.0) < height(-0.4)


def test_an_arm_that_was_only_tried_on_test_is_in_the_legend():
    def in_legend(split):
        rows = [sweep_row("validation", "raw", 1.0, 0.1), sweep_row(split, "token", 1.0, 0.1)]
        image = vermilion(drawn(rows))
        return image[int(0.8 * len(image)) :].any()

    assert in_legend("validation")
    assert in_legend("test")


def test_the_baseline_alone_is_nothing_to_draw():
    assert not has_gains([sweep_row("validation", "real", 0.0, 0.0)])
    assert not has_gains([dataclasses.replace(sweep_row("test", "token", 1.0, 0.1), weak_gain_low=math.nan)])
    assert has_gains([sweep_row("test", "token", 1.0, 0.1)])
