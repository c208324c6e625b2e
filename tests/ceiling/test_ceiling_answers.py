"""What the ceiling says, for a ceiling written down by hand."""

import dataclasses

import pytest

from flowerti.artifacts.ceiling import Ceiling, CeilingRow, Kind, WorthRow
from flowerti.ceiling.answers import is_out_of_sight, told, told_worth


def row(kind: Kind, gain: float, low: float, high: float) -> CeilingRow:
    return CeilingRow(
        arm=f"balanced+{kind}", label="", kind=kind, control="balanced", num_more=0, f1=0.5, gain=gain,
        low=low, high=high,
    )  # fmt: skip


CEILING = Ceiling(
    class_names=["a", "b"], num_kept=3, num_draws=4, control="balanced", control_label="balanced sampling",
    rows=[row("round_trip", -0.1, -0.15, -0.05), row("unseen_round_trip", 0.1, 0.05, 0.15)], headroom=0.2,
    headroom_low=0.1, headroom_high=0.3, num_headroom=20, detectable_effect=0.08, learning_rate_factors={},
)  # fmt: skip


def test_headroom_and_what_the_autoencoder_costs_are_told():
    assert told(CEILING) == [
        "At most +0.300 is to be had over balanced sampling here: 20 unseen real images more change the F1 of 2 "
        "rehearsal classes with 3 images each by +0.200 (95 % interval +0.100 to +0.300).",
        "The base's autoencoder alone costs -0.100 (-0.150 to -0.050), where the classes' own images go through it.",
        "A perfect generator behind it could bring +0.100 (+0.050 to +0.150).",
    ]
    harmless = dataclasses.replace(CEILING, rows=[row("round_trip", -0.1, -0.15, 0.01)])
    assert told(harmless)[1].startswith("The base's autoencoder alone changes F1 by -0.100 (-0.150 to +0.010)")


def test_an_autoencoder_that_leaves_nothing_is_said_to():
    nothing = dataclasses.replace(CEILING, rows=[row("unseen_round_trip", -0.1, -0.2, 0.0)])
    assert told(nothing)[1].endswith(
        "could bring -0.100 (-0.200 to +0.000): this autoencoder costs more than any image can bring; use a larger "
        "resolution, another base, or fine-tune the network."
    )
    unknown = dataclasses.replace(CEILING, rows=[row("unseen_round_trip", 0.1, -0.1, 0.3)])
    assert told(unknown)[1].endswith("(-0.100 to +0.300), which is not shown to be a gain.")


def test_what_could_not_be_detected_is_out_of_sight():
    assert not is_out_of_sight(CEILING)
    little = dataclasses.replace(CEILING, headroom=0.01, headroom_low=-0.03, headroom_high=0.05)
    assert is_out_of_sight(little)
    assert told(little)[1].startswith("That is less than the 0.080 that this run could detect: use the control alone")


@pytest.mark.parametrize(
    ("worth", "said"),
    [
        ((2.1, 0.4, 3.9), "are worth 2.1 real ones (0.4 to 3.9), on test."),
        ((0.0, 0.0, 1.5), "are worth 0.0 real ones (0.0 to 1.5), on test."),
        ((12.0, 3.0, None), "are worth 12.0 real ones (3.0 to more than 20), on test."),
        ((None, 3.0, None), "are worth more than 20 real ones (3.0 to more than 20), on test."),
        ((0.0, 0.0, 0.0), "are worth no real one."),
    ],
)
def test_worth_is_told_with_its_interval(worth: tuple[float | None, float | None, float | None], said: str):
    value, low, high = worth
    found = WorthRow(
        split="test", arm="token_replace", level=0.3, control="real", num_images=64, gain=0.1, low=0.0, high=0.2,
        worth=value, worth_low=low, worth_high=high, most=20,
    )  # fmt: skip
    assert told_worth(found, "token") == f"The 64 images of the token {said}"
