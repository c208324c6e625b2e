"""Rows of images with a label each: the first images of every set of a class.

This module knows nothing about where images come from, and computes no result: it only draws.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from flowerti.report.canvas import drawable, font, png_of
from flowerti.report.names import source_label, source_order

CELL_PX = 128
LABEL_PX = 34
GAP_PX = 6

Images = UInt8[np.ndarray, "_num _height _width 3"]


def in_reading_order(by_source: Mapping[str, Images], show_real: bool) -> dict[str, Images]:
    """Label -> images in the order of the page, without empty sets, without real ones unless they may be shown."""
    return {
        source_label(source): by_source[source]
        for source in source_order(by_source)
        if len(by_source[source]) and (show_real or source != "real")
    }


def strip_png(images: Mapping[str, Images], num_columns: int) -> bytes:
    """Draw one labelled row for each entry, the first `num_columns` of its images.

    Args:
        images: label -> images, values 0..255; sizes may differ between labels.
        num_columns: images in a row, at least 1.

    Raises:
        ValueError: there is no image to show, or num_columns is below 1.
    """
    rows = {label: stack[:num_columns] for label, stack in images.items() if len(stack)}
    if not rows or num_columns < 1:
        raise ValueError(f"a strip needs images and num_columns >= 1: {len(rows)} rows, {num_columns} columns")
    row_height = LABEL_PX + CELL_PX + GAP_PX
    canvas = Image.new("RGB", (strip_width(num_columns), len(rows) * row_height), "white")
    pen = ImageDraw.Draw(canvas)
    for row_index, (label, stack) in enumerate(rows.items()):
        top = row_index * row_height
        pen.text((0, top + 4), drawable(label, 60), fill="#222222", font=font(22))
        for column, image in enumerate(stack):
            canvas.paste(cell(image), (column * (CELL_PX + GAP_PX), top + LABEL_PX))
    return png_of(canvas)


def strip_width(num_columns: int) -> int:
    """Pixels across a row of that many images."""
    return num_columns * (CELL_PX + GAP_PX) - GAP_PX


def cell(image: UInt8[np.ndarray, "_height _width 3"]) -> Image.Image:
    """An image at the size at which the report shows it."""
    drawn = Image.fromarray(image)
    # Small images keep hard pixels, so that nobody takes the smoothing for detail.
    smoothing = Image.Resampling.NEAREST if max(drawn.size) <= CELL_PX else Image.Resampling.LANCZOS
    return drawn.resize((CELL_PX, CELL_PX), smoothing)
