"""Figures: PNGs of the promised size, the same bytes every time, the right pixels, and no failure on odd input."""

import dataclasses
import io
import math

import matplotlib
import numpy as np
import pytest
from PIL import Image
from test_report import (
    HOSTILE,
    class_names,
    classifier,
    concept,
    experiment,
    run,
    shown_pictures,
    sweep,
    sweep_row,
)

from flowerti.artifacts import slug
from flowerti.report_figures import (
    CELL_PX,
    GAP_PX,
    LABEL_PX,
    WIDTH_PX,
    confusion_png,
    curves_png,
    drawable,
    figures,
    loss_curves_png,
    sweep_png,
    synthetic_grid_png,
)

ODD_NAMES = ("$\\frac{1}{0$", "_hidden", "菊花", "line\nbreak", "x" * 300)


def draw(names=None, pictures=None, **changed):
    parts = run(names or class_names(14), **changed)
    weak = [chosen.class_name for chosen in parts["selection"].selected]
    pictures = shown_pictures(weak) if pictures is None else pictures
    ordered = (parts[key] for key in ("experiment", "classifier", "selection", "concepts", "sweep"))
    return figures(*ordered, pictures)


def strips(pictures, **data):
    """The strips alone, without the slower charts."""
    empty = {
        "classifier": dataclasses.replace(classifier(class_names(4)), curves=[], confusion=[]),
        "sweep": dataclasses.replace(sweep(), rows=[sweep_row("validation", "real", 0.0, 0.0)]),
        "concepts": [concept("species 000", error="no")],
    }
    return draw(pictures=pictures, experiment=experiment(**data), **empty)


def pixels(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    image = Image.open(io.BytesIO(png))
    assert image.info == {}, "a PNG with metadata differs between versions or days"
    return np.asarray(image)


def test_all_figures_have_the_promised_width_and_repeat_byte_for_byte():
    first = draw()
    grids = {f"grid_{slug(name)}.png" for name in class_names(3)}
    assert set(first) == {"curves.png", "confusion.png", "loss_curves.png", "sweep.png"} | grids
    for name, png in first.items():
        height, width, channels = pixels(png).shape
        assert width == (8 * (CELL_PX + GAP_PX) - GAP_PX if name in grids else WIDTH_PX), name
        assert (channels, height > 300) == (3, True), name
    assert draw() == first


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    curves_png(classifier(class_names(2)).curves)
    assert dict(matplotlib.rcParams) == before


def test_strip_shows_the_first_pictures_of_each_row_in_order_and_unchanged():
    stacks = {
        label: np.random.default_rng(i).integers(0, 256, (5, 64, 64, 3), np.uint8) for i, label in enumerate("ab")
    }
    strip = pixels(synthetic_grid_png(stacks, num_columns=3))
    assert strip.shape == (2 * (LABEL_PX + CELL_PX + GAP_PX), 3 * CELL_PX + 2 * GAP_PX, 3)
    for row, stack in enumerate(stacks.values()):
        for column in range(3):
            top, left = row * (LABEL_PX + CELL_PX + GAP_PX) + LABEL_PX, column * (CELL_PX + GAP_PX)
            cell = strip[top : top + CELL_PX, left : left + CELL_PX]
            np.testing.assert_array_equal(cell[::2, ::2], stack[column])
            np.testing.assert_array_equal(cell[1::2, 1::2], stack[column])


def test_strip_takes_rows_of_other_sizes_and_lengths():
    stacks = {"large": np.full((9, 512, 512, 3), 200, np.uint8), "short": np.full((1, 32, 32, 3), 40, np.uint8)}
    strip = pixels(synthetic_grid_png(stacks, num_columns=2))
    second_row = strip[2 * LABEL_PX + CELL_PX + GAP_PX :][:CELL_PX]
    assert (second_row[:, :CELL_PX] == 40).all()
    assert (second_row[:, CELL_PX:] == 255).all()
    assert (strip[LABEL_PX:][:CELL_PX, :CELL_PX] == 200).all()


@pytest.mark.parametrize(
    ("pictures", "num_columns"),
    [({}, 8), ({"a": np.zeros((0, 8, 8, 3), np.uint8)}, 8), ({"a": np.zeros((1, 8, 8, 3), np.uint8)}, 0)],
)
def test_strip_refuses_nothing_to_show(pictures, num_columns):
    with pytest.raises(ValueError, match="num_columns"):
        synthetic_grid_png(pictures, num_columns)


def test_rows_stand_in_reading_order_whatever_the_order_given():
    one = shown_pictures(["species 000"])
    turned = {name: dict(reversed(by_source.items())) for name, by_source in one.items()}
    assert strips(one) == strips(turned)


def test_real_pictures_need_leave():
    name = "grid_species_000.png"
    pictures = shown_pictures(["species 000"])
    shown, hidden = pixels(strips(pictures)[name]), pixels(strips(pictures, show_pictures=False)[name])
    np.testing.assert_array_equal(hidden, shown[len(shown) // 4 :])


def test_figures_without_content_are_left_out():
    assert strips({}) == {}
    only_real = {"species 000": {"real": np.zeros((2, 64, 64, 3), np.uint8)}}
    assert strips(only_real, show_pictures=False) == {}


def test_odd_names_do_not_stop_a_figure():
    names = ODD_NAMES + HOSTILE
    assert len(draw(names, pictures={}, num_weak=len(names))) == 4


@pytest.mark.parametrize("num_classes", [1, 2, 14, 21, 31, 102])
def test_confusion_of_any_number_of_classes(num_classes):
    report = classifier(class_names(num_classes))
    assert pixels(confusion_png(report, {"species 000"})).shape[1] == WIDTH_PX


def test_a_class_without_pictures_leaves_its_row_empty():
    report = classifier(class_names(4))
    emptied = dataclasses.replace(report, confusion=[[0] * 4, *report.confusion[1:]])
    assert confusion_png(report, set()) != confusion_png(emptied, set())


def test_large_confusion_shows_weak_classes_with_those_confused_with_them():
    names = class_names(40)
    report = classifier(names)
    usual = confusion_png(report, {names[3]})
    for index, in_sight in ((3, True), (4, True), (2, True), (39, False)):
        renamed = [dataclasses.replace(s, class_name="z") if i == index else s for i, s in enumerate(report.classes)]
        weak = "z" if index == 3 else names[3]
        changed = confusion_png(dataclasses.replace(report, classes=renamed), {weak})
        assert (changed != usual) == in_sight, index


def test_merged_confusion_is_that_of_merged_classes():
    """40 classes of which 20 are shown give the picture of 21 classes, the last one being all the others."""
    names = class_names(40)
    report = classifier(names)
    counts = np.asarray(report.confusion)
    merged = np.zeros((21, 21), dtype=int)
    merged[:20, :20] = counts[:20, :20]
    merged[20, :20], merged[:20, 20] = counts[20:, :20].sum(axis=0), counts[:20, 20:].sum(axis=1)
    merged[20, 20] = counts[20:, 20:].sum()
    drawn, texts = confusion_png(report, names[:20]), [*names[:20], "all others"]
    scores = [dataclasses.replace(report.classes[0], class_name=text) for text in texts]
    # Every class is weak but the last, so that none of the 21 is hidden among others of its own.
    again = confusion_png(dataclasses.replace(report, classes=scores, confusion=merged.tolist()), names[:20])
    assert drawn == again


def test_sweep_survives_one_split_unknown_arms_and_missing_numbers():
    rows = [sweep_row("validation", "token", 1.0, 0.1), sweep_row("validation", "lora", 1.0, 0.2)]
    usual = sweep_png(rows)
    broken = dataclasses.replace(rows[0], ratio=2.0, weak_gain=math.nan)
    assert sweep_png([*rows, broken]) == usual
    assert sweep_png([sweep_row("test", "augmented", 0.0, 0.1)])
    assert sweep_png([dataclasses.replace(rows[0], weak_gain_low=0.2, weak_gain_high=0.0)])


def test_a_larger_gain_is_drawn_higher():
    def height(gain):
        rows = [sweep_row("validation", "balanced", 0.0, 0.5), sweep_row("validation", "augmented", 0.0, -0.5)]
        image = pixels(sweep_png([*rows, sweep_row("validation", "token", 1.0, gain)])).astype(int)
        vermilion = np.abs(image - (0xD5, 0x5E, 0x00)).sum(axis=2) < 30
        return np.argwhere(vermilion[: int(0.8 * len(image))])[:, 0].mean()

    assert height(0.4) < height(0.0) < height(-0.4)


def test_many_tokens_share_one_colour_and_no_legend():
    concepts = [concept(name) for name in class_names(11)]
    renamed = [dataclasses.replace(one, class_name=f"other {i}") for i, one in enumerate(concepts)]
    assert loss_curves_png(concepts) == loss_curves_png(renamed)
    assert loss_curves_png(concepts[:2]) != loss_curves_png(renamed[:2])


def test_curves_with_one_epoch():
    assert pixels(curves_png(classifier(class_names(2)).curves[:1])).shape[1] == WIDTH_PX


@pytest.mark.parametrize(("text", "shown"), [("rose", "rose"), ("_rose", " _rose"), ("菊", "?"), ("abcdef", "abc…")])
def test_drawable(text, shown):
    assert drawable(text, 4 if text == "abcdef" else 10) == shown
