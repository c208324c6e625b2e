"""Strips of images: the first ones, in order, unchanged, in the order of the page, real ones only with leave."""

import numpy as np
import pytest
from finished_run import shown_images
from page_reader import pixels

from flowerti.report.image_strips import CELL_PX, GAP_PX, LABEL_PX, in_reading_order, strip_png


def test_strip_shows_the_first_images_of_each_row_in_order_and_unchanged():
    stacks = {
        label: np.random.default_rng(i).integers(0, 256, (5, 64, 64, 3), np.uint8) for i, label in enumerate("ab")
    }
    strip = pixels(strip_png(stacks, num_columns=3))
    assert strip.shape == (2 * (LABEL_PX + CELL_PX + GAP_PX), 3 * CELL_PX + 2 * GAP_PX, 3)
    for row, stack in enumerate(stacks.values()):
        for column in range(3):
            top, left = row * (LABEL_PX + CELL_PX + GAP_PX) + LABEL_PX, column * (CELL_PX + GAP_PX)
            cell = strip[top : top + CELL_PX, left : left + CELL_PX]
            np.testing.assert_array_equal(cell[::2, ::2], stack[column])
            np.testing.assert_array_equal(cell[1::2, 1::2], stack[column])


def test_strip_takes_rows_of_other_sizes_and_lengths():
    stacks = {"large": np.full((9, 512, 512, 3), 200, np.uint8), "short": np.full((1, 32, 32, 3), 40, np.uint8)}
    strip = pixels(strip_png(stacks, num_columns=2))
    second_row = strip[2 * LABEL_PX + CELL_PX + GAP_PX :][:CELL_PX]
    assert (second_row[:, :CELL_PX] == 40).all()
    assert (second_row[:, CELL_PX:] == 255).all()
    assert (strip[LABEL_PX:][:CELL_PX, :CELL_PX] == 200).all()


@pytest.mark.parametrize(
    ("images", "num_columns"),
    [({}, 8), ({"a": np.zeros((0, 8, 8, 3), np.uint8)}, 8), ({"a": np.zeros((1, 8, 8, 3), np.uint8)}, 0)],
)
def test_strip_refuses_nothing_to_show(images, num_columns):
    with pytest.raises(ValueError, match="num_columns"):
        strip_png(images, num_columns)


def test_rows_stand_in_reading_order_whatever_the_order_given():
    of_class = shown_images(["rose"])["rose"] | {"hypernetwork": np.zeros((1, 8, 8, 3), np.uint8)}
    labels = ["real", "class name", "other name", "Latin name", "learnt token", "hypernetwork"]
    assert list(in_reading_order(of_class, True)) == labels
    assert list(in_reading_order(dict(reversed(of_class.items())), True)) == labels


def test_real_images_need_leave_and_empty_sets_have_no_row():
    of_class = shown_images(["rose"])["rose"] | {"raw": np.zeros((0, 64, 64, 3), np.uint8)}
    assert list(in_reading_order(of_class, False)) == ["other name", "Latin name", "learnt token"]
