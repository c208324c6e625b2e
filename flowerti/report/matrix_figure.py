"""Every set against every class as an image: dark where a class is near, framed where it is the set's own.

The classes run over several bands, so that the names of a hundred can be read. This module computes no distance: it
only draws.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flowerti.artifacts.scores import MatrixRow
from flowerti.report.canvas import MARK_COLOUR, drawable, render
from flowerti.report.names import REAL, source_label
from flowerti.report.score_tables import MAX_DRAWN_SETS, in_set_order

CLASSES_IN_A_BAND = 34
_ROW_PX = 24
_NAMES_PX = 190
"""Height of the class names above a band."""
_LEGEND_PX = 110
_MAX_NAME = 22


def matrix_png(rows: Sequence[MatrixRow], class_names: Sequence[str]) -> bytes:
    """Draw the distances of one extractor and metric, at most `MAX_DRAWN_SETS` sets.

    The sets' own classes stand first, then all others by the least distance that any set has to them.

    Args:
        rows: sets of one extractor and metric, at least one.
        class_names: names of the values, in their order.
    """
    shown = in_set_order(rows, lambda row: (row.class_name, row.source))[:MAX_DRAWN_SETS]
    values = np.array([[np.nan if v is None else v for v in row.values] for row in shown], dtype=np.float64)
    order = _order(shown, values, class_names)
    bands = [order[i : i + CLASSES_IN_A_BAND] for i in range(0, len(order), CLASSES_IN_A_BAND)]
    norm = _norm(values)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(bands), 1, squeeze=False)
        width = min(len(order), CLASSES_IN_A_BAND)
        for axes, band in zip(grid[:, 0], bands, strict=True):
            image = axes.imshow(
                values[:, band], cmap=_colours(), norm=norm, aspect="auto", interpolation="nearest",
                extent=(-0.5, len(band) - 0.5, len(shown) - 0.5, -0.5),
            )  # fmt: skip
            axes.set_xlim(-0.5, width - 0.5)
            _label(axes, shown, [class_names[i] for i in band])
            _mark(axes, shown, [class_names[i] for i in band])
        figure.colorbar(image, ax=grid[:, 0].tolist(), location="bottom", shrink=0.4, aspect=40, label="distance")

    return render(draw, height_px=len(bands) * (_NAMES_PX + _ROW_PX * len(shown)) + _LEGEND_PX)


def _order(
    rows: Sequence[MatrixRow], values: Float64[np.ndarray, "sets classes"], class_names: Sequence[str]
) -> list[int]:
    own = list(dict.fromkeys(row.class_name for row in rows))
    least = np.where(np.isnan(values), np.inf, values).min(axis=0)
    first = [class_names.index(name) for name in own if name in class_names]
    return first + sorted(set(range(len(class_names))) - set(first), key=lambda i: (least[i], i))


def _norm(values: Float64[np.ndarray, "sets classes"]) -> PowerNorm:
    known = values[~np.isnan(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    # A square root spreads the small distances, which are what the figure is read for.
    return PowerNorm(0.5, low, high if high > low else low + 1)


def _colours() -> Colormap:
    return colormaps["Blues_r"].with_extremes(bad="#ececec")


def _label(axes: Axes, rows: Sequence[MatrixRow], names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), [drawable(name, _MAX_NAME) for name in names], rotation=90, fontsize=7)
    axes.xaxis.tick_top()
    sources = {source: drawable(source_label(source), 24) for source in {row.source for row in rows}}
    sources[REAL] = "real training"
    labels = [f"{drawable(row.class_name, _MAX_NAME)} · {sources[row.source]}" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for i in range(1, len(rows)):
        if rows[i].class_name != rows[i - 1].class_name:
            axes.axhline(i - 0.5, color="white", linewidth=2.5)


def _mark(axes: Axes, rows: Sequence[MatrixRow], names: Sequence[str]) -> None:
    """A frame around the own class, a dot in the nearest one."""
    for i, row in enumerate(rows):
        if row.class_name in names:
            corner = (names.index(row.class_name) - 0.44, i - 0.42)
            axes.add_patch(Rectangle(corner, 0.88, 0.84, fill=False, edgecolor=MARK_COLOUR, linewidth=1.5))
        if row.nearest in names:
            axes.plot(names.index(row.nearest), i, "o", color=MARK_COLOUR, markersize=3.2)
