"""The best action by hand-made rows: what costs more is taken only where it is better beyond chance."""

import dataclasses

import pytest
from small_sweep import EVERY_ARM

from flowerti.artifacts.records import SweepRow
from flowerti.artifacts.sweep import SweepContrast
from flowerti.config.experiment import SweepConfig
from flowerti.sweep.action import Choice, choose_action
from flowerti.sweep.rounds import Cell
from flowerti.tables import Table

CONFIG = SweepConfig(num_bootstrap=100)
SHOWN = Cell(EVERY_ARM["token"], 2.0)


def row(
    arm: str, ratio: float, gain: float, p_value: float, spread: float = 0.03, split: str = "validation"
) -> SweepRow:
    return SweepRow(
        split=split,
        arm=arm,
        ratio=ratio,
        num_repetitions=5,
        macro_f1=0.7,
        macro_f1_low=0.6,
        macro_f1_high=0.8,
        weak_f1=0.5 + gain,
        weak_f1_low=0.4,
        weak_f1_high=0.6,
        rest_f1=0.8,
        weak_gain=gain,
        weak_gain_low=gain - spread,
        weak_gain_high=gain + spread,
        weak_gain_p=p_value,
        rest_gain=0.0,
        rest_gain_low=-0.005,
        content_gain=gain,
        content_gain_p=p_value,
    )


REAL = row("real", 0.0, 0.0, 1.0, spread=0.0)


def choose(*rows: SweepRow, half_width: float = 0.03) -> Choice:
    """The choice, where the interval of every contrast is as wide as is said."""
    weak_f1 = {(one.arm, one.ratio): one.weak_f1 for one in rows}

    def compare(cell: Cell, against: Cell) -> SweepContrast:
        difference = weak_f1[cell.arm.name, cell.ratio] - weak_f1[against.arm.name, against.ratio]
        return SweepContrast(
            split="validation",
            arm=cell.arm.name,
            ratio=cell.ratio,
            against_arm=against.arm.name,
            against_ratio=against.ratio,
            difference=difference,
            low=difference - half_width,
            high=difference + half_width,
            p=0.01,
            answer="undecided",
            detectable_effect=0.08,
        )

    arms = Table("arm of this sweep", [EVERY_ARM[name] for name in dict.fromkeys(one.arm for one in rows)])
    return choose_action(rows, arms, CONFIG, SHOWN, compare)


TOKEN = row("token", 2.0, 0.2, 0.001)
SOFTMAX = row("balanced_softmax", 0.0, 0.19, 0.001)


def test_generated_images_alone_are_used_where_they_help():
    found = choose(REAL, TOKEN)
    assert (found.kind, found.cell) == ("use_generated", SHOWN)
    assert "+0.200 (95 % interval +0.170 to +0.230" in found.reason


def test_a_free_control_that_does_as_well_is_taken():
    found = choose(REAL, TOKEN, SOFTMAX)
    assert (found.kind, found.cell.arm.name, found.cell.ratio) == ("use_control", "balanced_softmax", 0.0)
    better = dataclasses.replace(TOKEN, weak_f1=0.8, weak_gain=0.3)
    assert choose(REAL, better, SOFTMAX).kind == "use_generated", "beyond chance"


def test_a_name_stands_between_controls_and_what_must_be_learnt():
    name = row("raw", 2.0, 0.25, 0.001)
    assert choose(REAL, TOKEN, SOFTMAX, name).kind == "use_name"
    assert choose(REAL, TOKEN, SOFTMAX, dataclasses.replace(name, ratio=4.0)).kind == "use_control", (
        "not the shown ratio"
    )
    assert choose(REAL, TOKEN, name).kind == "use_name", "the token is not better"


def test_repeated_images_are_a_free_control_at_the_shown_ratio():
    again = row("repeated", 2.0, 0.1, 0.001)
    found = choose(REAL, dataclasses.replace(TOKEN, weak_gain=0.1, weak_f1=0.6, content_gain_p=0.5), again)
    assert (found.kind, found.cell.arm.name, found.cell.ratio) == ("use_control", "repeated", 2.0)


def test_controls_are_adjusted_and_must_not_harm():
    weak = [row(arm, 0.0, 0.1, 0.02) for arm in ("balanced", "balanced_softmax", "augmented")]
    assert choose(REAL, row("token", 2.0, 0.0, 0.5), *weak).kind == "undecided", "3 x 0.02"
    harmful = dataclasses.replace(SOFTMAX, rest_gain_low=-0.05)
    assert choose(REAL, TOKEN, harmful).kind == "use_generated"


def test_nothing_helped_only_where_every_arm_is_shown_to_gain_less_than_the_margin():
    token, softmax = row("token", 2.0, 0.01, 0.4), row("balanced_softmax", 0.0, 0.01, 0.4)
    assert choose(REAL, token, softmax).kind == "nothing_helped"
    found = choose(REAL, token, row("balanced_softmax", 0.0, 0.03, 0.2))
    assert found.kind == "undecided"
    assert "balanced_softmax may still gain up to +0.060: this run finds only effects of 0.080 and more" in found.reason


def test_test_rows_cannot_decide():
    with pytest.raises(ValueError, match="validation only"):
        choose(REAL, dataclasses.replace(TOKEN, split="test"))
