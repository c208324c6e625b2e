"""What the ceiling says, for a ceiling written down by hand."""

import dataclasses

from flowerti.artifacts.ceiling import Ceiling, CeilingRow
from flowerti.ceiling.answers import is_out_of_sight, told

TRIP = CeilingRow(
    arm="balanced+round_trip", label="", control="balanced", num_more=0, f1=0.5, gain=-0.1, low=-0.15, high=-0.05
)
CEILING = Ceiling(
    class_names=["a", "b"], num_kept=3, num_draws=4, control="balanced", rows=[TRIP], headroom=0.2, headroom_low=0.1,
    headroom_high=0.3, num_headroom=20, detectable_effect=0.08, learning_rate_factors={},
)  # fmt: skip


def test_headroom_and_what_the_autoencoder_costs_are_told():
    headroom, of_trip = told(CEILING)
    assert headroom.startswith(
        "On 2 rehearsal classes with 3 images each, 20 unseen real images more change F1 by +0.200"
    )
    assert of_trip.startswith("The base's autoencoder alone costs -0.100 (-0.150 to -0.050), which")
    harmless = dataclasses.replace(CEILING, rows=[dataclasses.replace(TRIP, high=0.01)])
    assert told(harmless)[-1] == "The base's autoencoder alone changes F1 by -0.100 (-0.150 to +0.010)."


def test_what_could_not_be_detected_is_out_of_sight():
    assert not is_out_of_sight(CEILING)
    little = dataclasses.replace(CEILING, headroom=0.01, headroom_low=-0.03, headroom_high=0.05)
    assert is_out_of_sight(little)
    assert told(little)[1].startswith(
        "At most 0.050 is to be had by that many, and a rehearsal like this finds effects of"
    )
