"""Pairs of images: the right two below each other, mirrored where that is the nearer view, copies first."""

import dataclasses

import numpy as np
import pytest
from finished_run import images_of_copies
from finished_scores import copy_check, pair, scores
from page_reader import pixels

from flowerti.report.copies_figure import HEAD_PX, NUM_COLUMNS, copies_png, shown_pairs
from flowerti.report.image_strips import CELL_PX, GAP_PX, strip_width


def of_check(check):
    found = images_of_copies(dataclasses.replace(scores(()), copies=[check]))
    synthetic = {name: image for name, image in found.items() if name.startswith("synthetic:")}
    return synthetic, {name: image for name, image in found.items() if name not in synthetic}


def cell_at(image, band_height, place, row):
    band, column = divmod(place, NUM_COLUMNS)
    top = band * band_height + HEAD_PX + row * (CELL_PX + GAP_PX)
    left = column * (CELL_PX + GAP_PX)
    return image[top : top + CELL_PX, left : left + CELL_PX][::2, ::2]


def test_each_synthetic_image_stands_above_its_training_image():
    check = copy_check("rose", "token", num_copies=2)
    synthetic, train = of_check(check)
    image = pixels(copies_png(check, synthetic, train))
    band_height = 2 * HEAD_PX + 2 * (CELL_PX + GAP_PX) + GAP_PX
    assert image.shape == (band_height, strip_width(NUM_COLUMNS), 3)
    for place, one in enumerate(check.closest[:NUM_COLUMNS]):
        np.testing.assert_array_equal(cell_at(image, band_height, place, 0), synthetic[one.image])
        expected = train[one.train_id][:, ::-1] if one.is_mirrored else train[one.train_id]
        np.testing.assert_array_equal(cell_at(image, band_height, place, 1), expected)
    assert check.closest[1].is_mirrored


def test_without_training_images_the_synthetic_ones_stand_alone():
    check = copy_check("rose", "token")
    synthetic, _ = of_check(check)
    image = pixels(copies_png(check, synthetic, {}))
    band_height = 2 * HEAD_PX + CELL_PX + 2 * GAP_PX
    assert len(image) == band_height
    for place, one in enumerate(check.closest[:NUM_COLUMNS]):
        np.testing.assert_array_equal(cell_at(image, band_height, place, 0), synthetic[one.image])


@pytest.mark.parametrize(("num_copies", "num_shown"), [(0, 8), (3, 8), (9, 9), (20, 20), (30, 24)])
def test_one_row_of_pairs_or_up_to_three_of_copies(num_copies, num_shown):
    check = copy_check("rose", "token", num_copies, num_pairs=40)
    shown = shown_pairs(check)
    assert shown == check.closest[:num_shown]
    synthetic, train = of_check(check)
    band_height = 2 * HEAD_PX + 2 * (CELL_PX + GAP_PX) + GAP_PX
    assert len(pixels(copies_png(check, synthetic, train))) == band_height * -(-num_shown // NUM_COLUMNS)


def test_copies_come_before_pairs_that_are_more_alike():
    check = copy_check("rose", "token")
    check.copies.append(pair(77, similarity=0.1, correlation=0.9))
    assert [one.train_id for one in shown_pairs(check)[:2]] == ["train/77", "train/0"]


def test_a_pair_whose_image_is_gone_is_left_out_and_the_others_keep_their_numbers():
    check = copy_check("rose", "token", num_pairs=2)
    synthetic, train = of_check(check)
    del synthetic[check.closest[0].image]
    rest = dataclasses.replace(check, closest=check.closest[1:])
    assert copies_png(check, synthetic, train) != copies_png(rest, synthetic, train)
    with pytest.raises(ValueError, match="no image to show"):
        copies_png(check, {}, train)
