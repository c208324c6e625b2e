"""Synthetic images beside the training images that they copy or come nearest to, for the eye to judge.

This module knows nothing about how copies are found or where images are read.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from flowerti.artifacts.scores import CopyCheck, CopyPair
from flowerti.report.canvas import font, png_of
from flowerti.report.image_strips import CELL_PX, GAP_PX, cell, strip_width
from flowerti.report.score_tables import pairs_in_order

HEAD_PX = 26
"""Height of the line above a pair, and of the line below it."""
NUM_COLUMNS = 8
_MAX_COPIES = 24

Pixels = UInt8[np.ndarray, "_height _width 3"]


def shown_pairs(check: CopyCheck) -> list[CopyPair]:
    """The pairs that fit into the figure: one row, or as many copies as fill three."""
    num = min(_MAX_COPIES, max(NUM_COLUMNS, len(check.copies)))
    return pairs_in_order(check.copies, check.closest)[:num]


def copies_png(check: CopyCheck, synthetic: Mapping[str, Pixels], train: Mapping[str, Pixels]) -> bytes:
    """Draw `shown_pairs`, each with its number above, and similarity and pixel correlation below.

    A training image whose mirror image is the nearer one is drawn mirrored.

    Args:
        check: the pairs.
        synthetic: images by address; a pair without one is left out.
        train: training images by id; where there is none at all, synthetic images stand alone.

    Raises:
        ValueError: there is no image to show.
    """
    pairs = [(i, pair) for i, pair in enumerate(shown_pairs(check), start=1) if pair.image in synthetic]
    if not pairs:
        raise ValueError(f"copies of class {check.class_name!r}, source {check.source!r}: no image to show")
    num_rows = 2 if any(pair.train_id in train for _, pair in pairs) else 1
    band_height = 2 * HEAD_PX + num_rows * (CELL_PX + GAP_PX) + GAP_PX
    num_bands = -(-len(pairs) // NUM_COLUMNS)
    canvas = Image.new("RGB", (strip_width(NUM_COLUMNS), num_bands * band_height), "white")
    pen = ImageDraw.Draw(canvas)
    for place, (number, pair) in enumerate(pairs):
        band, column = divmod(place, NUM_COLUMNS)
        left, top = column * (CELL_PX + GAP_PX), band * band_height
        is_copy = pair in check.copies
        pen.text((left, top + 2), _head(number, pair, is_copy), fill="#b34700" if is_copy else "#222222", font=font(17))
        canvas.paste(cell(synthetic[pair.image]), (left, top + HEAD_PX))
        if pair.train_id in train:
            canvas.paste(cell(_turned(train[pair.train_id], pair)), (left, top + HEAD_PX + CELL_PX + GAP_PX))
        below = f"{pair.similarity:.2f} / {pair.pixel_correlation:.2f}"
        pen.text((left, top + HEAD_PX + num_rows * (CELL_PX + GAP_PX) - 2), below, fill="#444444", font=font(17))
    return png_of(canvas)


def _head(number: int, pair: CopyPair, is_copy: bool) -> str:
    return f"{number}{' copy' if is_copy else ''}{' mirror' if pair.is_mirrored else ''}"


def _turned(image: Pixels, pair: CopyPair) -> Pixels:
    return np.ascontiguousarray(image[:, ::-1]) if pair.is_mirrored else image
