"""The common canvas: the promised width, no trace of the day, and no trace left in matplotlib."""

import io

import matplotlib
import pytest
from page_reader import pixels
from PIL import Image

from flowerti.report.canvas import WIDTH_PX, drawable, png_of, render


def test_a_figure_has_the_common_width_and_repeats_byte_for_byte():
    def draw(figure):
        figure.subplots().plot([0, 1], [0, 1])

    first = render(draw, height_px=300)
    assert pixels(first).shape == (300, WIDTH_PX, 3)
    assert render(draw, height_px=300) == first


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    render(lambda figure: None, height_px=300)
    assert dict(matplotlib.rcParams) == before


def test_a_image_loses_its_metadata():
    image = Image.new("RGB", (2, 2), "red")
    image.info["Software"] = "something"
    assert Image.open(io.BytesIO(png_of(image))).info == {}


@pytest.mark.parametrize(("text", "shown"), [("rose", "rose"), ("_rose", " _rose"), ("菊", "?"), ("abcdef", "abc…")])
def test_drawable(text, shown):
    assert drawable(text, 4 if text == "abcdef" else 10) == shown
