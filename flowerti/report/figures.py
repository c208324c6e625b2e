"""All figures of a report, each under the file name by which the page finds it.

A figure that would be empty is left out. This module knows nothing about the page or the run directory.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from flowerti.artifacts.scores import Scores
from flowerti.report.charts import confusion_png, curves_png, loss_curves_png
from flowerti.report.copies_figure import copies_png, shown_pairs
from flowerti.report.findings import Findings
from flowerti.report.image_strips import in_reading_order, strip_png
from flowerti.report.matrix_figure import matrix_png
from flowerti.report.names import copies_file, matrix_file, strip_file
from flowerti.report.sweep_figure import has_gains, sweep_png
from flowerti.tables.sources import SOURCES, judged_source

Image = UInt8[np.ndarray, "_height _width 3"]


def draw_figures(
    found: Findings,
    images: Mapping[str, Mapping[str, UInt8[np.ndarray, "_num _height _width 3"]]],
    of_copies: Mapping[str, Image],
    *,
    num_columns: int = 8,
) -> dict[str, bytes]:
    """Draw every figure that the artifacts allow.

    Args:
        found: what the run found, and whether real images may be shown.
        images: class name -> source ("real" or one of synthetic images) -> images, values 0..255; the first
            `num_columns` of each are shown.
        of_copies: the images of `copies_figure.shown_pairs`, synthetic ones by address and training ones by id.
        num_columns: images in a row of a strip.

    Returns:
        PNG bytes by name: curves.png, confusion.png, loss_curves.png, sweep.png, and those that `names` gives.
    """
    weak = {chosen.class_name for chosen in found.selection.selected}
    classifier, rows = found.classifier, found.sweep.rows
    judged = SOURCES[judged_source()].technique
    learned = [one for one in found.first_learned if one.technique == judged and one.loss_curve]
    drawn = {
        "curves.png": curves_png(classifier.curves) if classifier.curves else b"",
        "confusion.png": confusion_png(classifier, weak) if classifier.confusion else b"",
        "loss_curves.png": loss_curves_png(learned) if learned else b"",
        "sweep.png": sweep_png(rows, found.sweep.arms) if has_gains(rows) else b"",
    }
    show_real = found.experiment.data.show_images
    for class_name, by_source in images.items():
        shown = in_reading_order(by_source, show_real)
        drawn[strip_file(class_name)] = strip_png(shown, num_columns) if shown else b""
    drawn |= _matrices(found.scores) | _copies(found.scores, of_copies, show_real)
    return {name: png for name, png in drawn.items() if png}


def _matrices(scores: Scores) -> dict[str, bytes]:
    kinds = dict.fromkeys((row.extractor, row.metric) for row in scores.matrix)
    return {
        matrix_file(*kind): matrix_png(
            [row for row in scores.matrix if (row.extractor, row.metric) == kind], scores.class_names
        )
        for kind in kinds
    }


def _copies(scores: Scores, images: Mapping[str, Image], show_real: bool) -> dict[str, bytes]:
    drawn = {}
    for check in scores.copies:
        pairs = shown_pairs(check)
        synthetic = {pair.image: images[pair.image] for pair in pairs if pair.image in images}
        train = {pair.train_id: images[pair.train_id] for pair in pairs if show_real and pair.train_id in images}
        if synthetic:
            drawn[copies_file(check.class_name, check.source, check.extractor)] = copies_png(check, synthetic, train)
    return drawn
