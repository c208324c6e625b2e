"""The ceiling and the worth of images on the page, from records written down by hand."""

import dataclasses

from finished_run import page, run
from finished_sweep import sweep
from page_reader import assert_self_contained, section

from flowerti.artifacts.ceiling import Ceiling, CeilingRow, Kind, WorthRow
from flowerti.tables.arms import ARMS, replaced_on
from flowerti.tables.sources import SOURCES

FIXED = replaced_on(ARMS["balanced_softmax"], SOURCES["token"])


def ceiling() -> Ceiling:
    found: list[tuple[Kind, int, float]] = [
        ("unseen_real", 1, 0.05),
        ("unseen_real", 5, 0.11),
        ("round_trip", 0, -0.06),
        ("unseen_round_trip", 0, 0.02),
    ]
    rows = [
        CeilingRow(
            arm=f"balanced_softmax+{kind}", label=f"balanced softmax, {kind}", kind=kind, control="balanced_softmax",
            num_more=num, f1=0.6 + gain, gain=gain, low=gain - 0.04, high=gain + 0.04,
        )
        for kind, num, gain in found
    ]  # fmt: skip
    return Ceiling(
        class_names=["fern", "moss"], num_kept=8, num_draws=8, control="balanced_softmax",
        control_label="balanced softmax", rows=rows, headroom=0.11, headroom_low=0.07, headroom_high=0.15,
        num_headroom=5, detectable_effect=0.08, learning_rate_factors={"balanced_softmax": 3.0},
    )  # fmt: skip


def worth(split: str = "test", level: float = 0.3, worth_high: float | None = None) -> WorthRow:
    return WorthRow(
        split=split, arm=FIXED.name, level=level, control="balanced_softmax", num_images=40, gain=0.08, low=0.02,
        high=0.14, worth=3.2, worth_low=0.25, worth_high=worth_high, most=5,
    )  # fmt: skip


def asked() -> dict:
    table = sweep()
    (row,) = (row for row in table.rows if row.split == "test" and row.arm == "token")
    shown = dataclasses.replace(row, arm=FIXED.name, ratio=0.3)
    table = dataclasses.replace(table, judged_arm=FIXED.name, rows=[*table.rows, shown], arms=[*table.arms, FIXED])
    return run(sweep=table, ceiling=ceiling(), worth=[worth("validation"), worth(), worth(level=0.6)])


def test_the_first_screen_says_what_is_to_be_had_and_what_an_image_is_worth():
    text = " ".join(assert_self_contained(page(asked())).text.split()).split("Weak classes")[0]
    assert "At most +0.150 is to be had over balanced softmax here: 5 unseen real images more" in text
    assert "The base's autoencoder alone costs -0.060" in text
    assert "A perfect generator behind it could bring +0.020" in text
    assert text.count("are worth 3.2 real ones (0.2 to more than 5), on test.") == 1, "at the level that is shown"


def test_images_at_fixed_mass_are_shown_beside_their_control():
    """Beside real images alone the control's own gain would count as theirs."""
    text = " ".join(assert_self_contained(page(asked())).text.split()).split("Weak classes")[0]
    rows = {row.arm: row for row in asked()["sweep"].rows if row.split == "test"}
    control = rows["balanced_softmax"].weak_f1
    assert f"best free control: balanced softmax 0.400 → {control:.3f}" in text
    shown = text.split("balanced softmax and learnt token instead of real, p 0.3 0.400 → 0.490")[1]
    assert f"; {0.49 - control:+.3f} over balanced softmax alone" in shown.split("smallest detectable")[0]
    assert text.count(" alone smallest") == 1, "an arm on real images alone has no control of its own"


def test_the_section_holds_every_row_with_its_interval():
    found = section(page(asked()), "ceiling")
    assert "fern, moss" in found and "8 images each, in 8 draws" in found
    assert found.count("balanced softmax, ") == 4 and found.count("instead of real p ") == 3
    assert "+0.110" in found and "+0.070 … +0.150" in found
    assert "0.2 to > 5" in found


def test_a_run_that_did_not_ask_says_so():
    html = page(run())
    assert "This was not asked" in section(html, "ceiling") and "What an image is worth" not in html
    assert "is to be had over" not in html
