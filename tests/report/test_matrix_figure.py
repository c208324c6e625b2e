"""The matrix as an image: large enough to be read, near is dark, and marks where they belong."""

import dataclasses

import numpy as np
import pytest
from finished_scores import SOURCES, class_names, matrix_row
from page_reader import pixels

from flowerti.report.canvas import WIDTH_PX
from flowerti.report.matrix_figure import matrix_png
from flowerti.report.score_tables import MAX_DRAWN_SETS

FOUR = class_names(4)
VERMILION, MISSING = (0xD5, 0x5E, 0x00), (0xEC, 0xEC, 0xEC)


def sets(names, num_classes=3):
    return [matrix_row(name, source, names) for name in names[:num_classes] for source in ("real", *SOURCES)]


def places_of(image, colour, tolerance=6):
    return np.argwhere(np.abs(image.astype(int) - colour).sum(axis=2) <= tolerance)


def one_row(values, own=0, nearest=0):
    row = matrix_row(FOUR[own], "token", FOUR)
    return dataclasses.replace(row, values=values, nearest=FOUR[nearest])


def cells(image):
    """Mean colours of the four cells of a matrix with one set and one mark in the first cell."""
    marks = places_of(image, VERMILION)
    left, right = marks[:, 1].min(), marks[:, 1].max()
    top, bottom = marks[:, 0].min(), marks[:, 0].max()
    width = (right - left) / 0.88
    row = image[top + 6 : top + 9]
    assert bottom > top + 9
    return [row[:, int(left + i * width + 12) : int(left + (i + 0.8) * width)].mean(axis=(0, 1)) for i in range(4)]


@pytest.mark.parametrize("num_classes", [2, 14, 34, 35, 102])
def test_any_number_of_classes_fits_the_width(num_classes):
    names = class_names(num_classes)
    assert pixels(matrix_png(sets(names, 2), names)).shape[1] == WIDTH_PX


def test_102_classes_get_rows_and_columns_that_can_be_read():
    """Every second class is near to all sets but the first, which is near to all classes: stripes, 20 pixels wide."""
    names = class_names(102)
    stripes = [0.0 if i % 2 else 9.0 for i in range(102)]
    first, *others = sets(names)
    rows = [
        dataclasses.replace(row, values=values)
        for row, values in [(first, [0.0] * 102), *((r, stripes) for r in others)]
    ]
    image = pixels(matrix_png(rows, names))
    dark = np.zeros(image.shape[:2], bool)
    dark[tuple(places_of(image, (8, 48, 107)).T)] = True
    edges = [np.flatnonzero(line[1:] != line[:-1]) for line in dark]
    striped = [places for places in edges if len(places) >= 30]
    assert len(striped) > 3 * len(others) * 15
    assert min(np.median(np.diff(places)) for places in striped) >= 20


def test_a_near_class_is_darker_and_a_missing_value_has_a_colour_of_its_own():
    image = pixels(matrix_png([one_row([0.5, 0.1, 2.0, None])], FOUR))
    own, near, far, missing = cells(image)
    assert near.mean() < own.mean() < far.mean()
    np.testing.assert_allclose(missing, MISSING, atol=1)


def test_negative_distances_and_equal_ones_do_no_harm():
    _, near, far, _ = cells(pixels(matrix_png([one_row([0.0, -0.2, 2.0, 1.0])], FOUR)))
    assert near.mean() < far.mean()
    assert matrix_png([one_row([1.0, 1.0, 1.0, 1.0])], FOUR)
    assert matrix_png([one_row([None, None, None, None])], FOUR)


def test_own_class_and_nearest_class_are_marked():
    values = [1.0, 2.0, 3.0, 4.0]
    same = len(places_of(pixels(matrix_png([one_row(values)], FOUR)), VERMILION))
    apart = places_of(pixels(matrix_png([one_row(values, nearest=2)], FOUR)), VERMILION)
    assert len(apart) >= same
    assert np.ptp(apart[:, 1]) > 1.5 * WIDTH_PX / 6


def test_the_own_classes_stand_first_and_the_others_by_their_least_distance():
    """Classes in any order give the same image, apart from ties."""
    values = dict(zip(FOUR, (3.0, 0.5, 1.0, 2.0), strict=True))
    drawn = set()
    for names in (FOUR, FOUR[::-1], (*FOUR[2:], *FOUR[:2])):
        row = dataclasses.replace(
            matrix_row(FOUR[3], "token", names), values=[values[name] for name in names], nearest=FOUR[1]
        )
        drawn.add(matrix_png([row], names))
    assert len(drawn) == 1


def test_sets_beyond_the_limit_are_not_drawn():
    names = class_names(20)
    many = sets(names, 10)
    assert len(many) == MAX_DRAWN_SETS + 2
    assert matrix_png(many, names) == matrix_png(many[:MAX_DRAWN_SETS], names)


def test_names_with_signs_stay_text():
    odd = ("$\\frac{1}{0$", "_hidden", "菊花", "x" * 300)
    assert matrix_png([matrix_row(name, "token", odd) for name in odd], odd)
