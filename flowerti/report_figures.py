"""The report's figures as PNG bytes: curves, confusion, sweep, token losses, strips of pictures.

The same artifacts give the same bytes on every call: no dates, no pyplot, one bundled font. This
module knows nothing about the page or the run directory, and computes no result: it only draws.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import UInt8
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from flowerti.artifacts import (
    ClassifierReport,
    Concept,
    EpochScore,
    Selection,
    SweepRow,
    SweepTable,
    slug,
)
from flowerti.config import Experiment
from flowerti.report import ARM_NAMES, SOURCE_NAMES

WIDTH_PX = 1080
CELL_PX = 128
LABEL_PX = 34
GAP_PX = 6
_DPI = 150
_COLOURS = {"token": "#d55e00", "raw": "#0072b2", "alternative_name": "#009e73"}
_CONTROL_COLOUR = "#555555"
_SPLIT_TITLES = {"validation": "validation", "test": "test, opened once"}
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    # Class names are data: a dollar sign in one must not be read as mathematics.
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}
_MAX_SHOWN_CLASSES = 20
_MAX_NAMED_CURVES = 10


def figures(
    experiment: Experiment,
    classifier: ClassifierReport,
    selection: Selection,
    concepts: list[Concept],
    sweep: SweepTable,
    pictures: Mapping[str, Mapping[str, UInt8[np.ndarray, "_num _height _width 3"]]],
    *,
    num_columns: int = 8,
) -> dict[str, bytes]:
    """Draw every figure that the artifacts allow.

    Args:
        experiment: says whether real pictures may be shown.
        classifier: learning curves and confusion.
        selection: the weak classes, named in a large confusion figure.
        concepts: tokens with their loss curves; failed ones have none.
        sweep: rows on validation and test.
        pictures: class name -> source ("real", "raw", "alternative_name" or "token") -> pictures,
            values 0..255; the first `num_columns` of each are shown.
        num_columns: pictures in a row of a strip.

    Returns:
        PNG bytes by name: curves.png, confusion.png, loss_curves.png, sweep.png and a
        grid_<slug>.png for each class with pictures. A figure that would be empty is left out.
    """
    weak = {chosen.class_name for chosen in selection.selected}
    drawn = {
        "curves.png": curves_png(classifier.curves) if classifier.curves else b"",
        "confusion.png": confusion_png(classifier, weak) if classifier.confusion else b"",
        "loss_curves.png": loss_curves_png(concepts) if any(c.loss_curve for c in concepts) else b"",
        "sweep.png": sweep_png(sweep.rows) if any(_gains(sweep.rows, split) for split in _SPLIT_TITLES) else b"",
    }
    for class_name, by_source in pictures.items():
        shown = _in_reading_order(by_source, experiment.data.show_pictures)
        if shown:
            drawn[f"grid_{slug(class_name)}.png"] = synthetic_grid_png(shown, num_columns)
    return {name: png for name, png in drawn.items() if png}


def synthetic_grid_png(pictures: Mapping[str, UInt8[np.ndarray, "_num _height _width 3"]], num_columns: int) -> bytes:
    """Draw one labelled row for each entry, the first `num_columns` of its pictures.

    Args:
        pictures: label -> pictures, values 0..255; sizes may differ between labels.
        num_columns: pictures in a row, at least 1.

    Raises:
        ValueError: there is no picture to show, or num_columns is below 1.
    """
    rows = {label: stack[:num_columns] for label, stack in pictures.items() if len(stack)}
    if not rows or num_columns < 1:
        raise ValueError(f"a strip needs pictures and num_columns >= 1: {len(rows)} rows, {num_columns} columns")
    width = num_columns * (CELL_PX + GAP_PX) - GAP_PX
    row_height = LABEL_PX + CELL_PX + GAP_PX
    canvas = Image.new("RGB", (width, len(rows) * row_height), "white")
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.truetype(_font_path(), 22)
    for row_index, (label, stack) in enumerate(rows.items()):
        top = row_index * row_height
        pen.text((0, top + 4), drawable(label, 60), fill="#222222", font=font)
        for column, picture in enumerate(stack):
            canvas.paste(_cell(picture), (column * (CELL_PX + GAP_PX), top + LABEL_PX))
    return _png_of(canvas)


def curves_png(curves: Sequence[EpochScore]) -> bytes:
    """Draw losses and accuracies by epoch, training dashed and validation solid."""

    def draw(figure: Figure) -> None:
        epochs = [point.epoch for point in curves]
        for axes, what, unit in zip(figure.subplots(1, 2), ("loss", "accuracy"), (" (nats)", ""), strict=True):
            for split, line in (("train", "--"), ("validation", "-")):
                values = [getattr(point, f"{split}_{what}") for point in curves]
                axes.plot(
                    epochs,
                    values,
                    line,
                    color="#0072b2" if split == "validation" else "#777777",
                    label=split,
                )
            axes.set(title=what + unit, xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(0, 1)
        axes.legend(loc="lower right")

    return _render(draw, height_px=400)


def confusion_png(classifier: ClassifierReport, weak: Iterable[str]) -> bytes:
    """Draw the share of each true class that went to each predicted class, with the counts.

    Of more than 20 classes the weak ones and those most often confused with them are drawn, all others as one.
    """
    names = [score.class_name for score in classifier.classes]
    bold = set(weak)
    counts = np.asarray(classifier.confusion, dtype=np.float64)
    shown = _shown_ids(counts, [i for i, name in enumerate(names) if name in bold])
    labels = [drawable(names[i], 18) for i in shown]
    if len(shown) < len(names):
        counts, labels = _merge_others(counts, shown), [*labels, "all others"]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        # A square root lifts the rare confusions, which are what the figure is read for.
        image = axes.imshow(shares, cmap=colormaps["Blues"], norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), labels)
        for i, text in zip(shown, axes.get_yticklabels(), strict=False):
            text.set_fontweight("bold" if names[i] in bold else "normal")
        axes.set(xlabel="predicted class", ylabel="true class")
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true class", ticks=(0, 0.1, 0.25, 0.5, 1))
        _write_counts(axes, counts, shares)

    return _render(draw, height_px=920)


def loss_curves_png(concepts: Sequence[Concept]) -> bytes:
    """Draw each token's evaluation loss as its change since the first; a dot marks the rows kept."""
    with_curve = [concept for concept in concepts if concept.loss_curve]
    named = len(with_curve) <= _MAX_NAMED_CURVES

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color="#999999", linewidth=0.8)
        for index, concept in enumerate(with_curve):
            steps = [point.step for point in concept.loss_curve]
            change = [point.loss - concept.loss_curve[0].loss for point in concept.loss_curve]
            colour = colormaps["tab10"](index) if named else "#0072b2"
            label = drawable(concept.class_name, 28) if named else None
            axes.plot(steps, change, color=colour, alpha=1.0 if named else 0.3, label=label)
            if concept.best_step in steps:
                axes.plot(
                    concept.best_step,
                    change[steps.index(concept.best_step)],
                    "o",
                    color=colour,
                    markersize=5,
                )
        axes.set(xlabel="optimiser step", title="change of the evaluation loss since step 0")
        if named:
            figure.legend(loc="outside right upper")

    return _render(draw, height_px=460)


def sweep_png(rows: Sequence[SweepRow]) -> bytes:
    """Draw the gain in weak-class F1 over real pictures only, with 95 % intervals."""
    by_split = {split: _gains(rows, split) for split in _SPLIT_TITLES}
    by_split = {split: found for split, found in by_split.items() if found}
    ratios_of = {split: _ratios(found) for split, found in by_split.items()}
    controls_of = {split: _controls(found) for split, found in by_split.items()}

    def draw(figure: Figure) -> None:
        slots = [max(2, len(ratios_of[split]) + len(controls_of[split])) for split in by_split]
        grid = figure.subplots(1, len(by_split), sharey=True, squeeze=False, width_ratios=slots)
        for axes, (split, found) in zip(grid[0], by_split.items(), strict=True):
            _draw_gains(axes, found, ratios_of[split], controls_of[split])
            axes.set_title(_SPLIT_TITLES[split])
        grid[0, 0].set_ylabel("gain in weak-class F1")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))

    return _render(draw, height_px=620)


def drawable(text: str, max_length: int) -> str:
    """Cut a name to `max_length` and put "?" for what the bundled font lacks."""
    known = "".join(c if _font().get_char_index(ord(c)) else "?" for c in text)
    short = known if len(known) <= max_length else known[: max_length - 1] + "…"
    # matplotlib leaves a label with a leading underscore out of the legend.
    return f" {short}" if short.startswith("_") else short


def _in_reading_order(by_source: Mapping[str, np.ndarray], show_real: bool) -> dict[str, np.ndarray]:
    return {
        name: by_source[source]
        for source, name in SOURCE_NAMES.items()
        if source in by_source and len(by_source[source]) and (show_real or source != "real")
    }


def _cell(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    # Small pictures keep hard pixels, so that nobody takes the smoothing for detail.
    smoothing = Image.Resampling.NEAREST if max(image.size) <= CELL_PX else Image.Resampling.LANCZOS
    return image.resize((CELL_PX, CELL_PX), smoothing)


def _shown_ids(counts: np.ndarray, weak_ids: list[int]) -> list[int]:
    if len(counts) <= _MAX_SHOWN_CLASSES:
        return list(range(len(counts)))
    confused = counts[weak_ids].sum(axis=0) + counts[:, weak_ids].sum(axis=1)
    confused[weak_ids] = np.inf
    return sorted(np.argsort(-confused, kind="stable")[:_MAX_SHOWN_CLASSES].tolist())


def _merge_others(counts: np.ndarray, shown: list[int]) -> np.ndarray:
    group = np.full(len(counts), len(shown))
    group[shown] = np.arange(len(shown))
    merged = np.zeros((len(shown) + 1, len(shown) + 1))
    np.add.at(merged, (group[:, None], group[None, :]), counts)
    return merged


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    for row, column in np.argwhere(counts > 0):
        axes.text(
            column,
            row,
            f"{counts[row, column]:.0f}",
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.3 else "#222222",
            fontsize=8 if len(counts) <= 15 else 6,
        )


def _gains(rows: Sequence[SweepRow], split: str) -> list[SweepRow]:
    return [
        row
        for row in rows
        if row.split == split
        and row.arm != "real"
        and np.isfinite([row.weak_gain, row.weak_gain_low, row.weak_gain_high]).all()
    ]


def _ratios(rows: Sequence[SweepRow]) -> list[float]:
    return sorted({row.ratio for row in rows if row.ratio > 0})


def _controls(rows: Sequence[SweepRow]) -> list[str]:
    return list(dict.fromkeys(row.arm for row in rows if row.ratio == 0))


def _draw_gains(axes: Axes, rows: Sequence[SweepRow], ratios: list[float], controls: list[str]) -> None:
    axes.axhline(0, color="#222222", linewidth=0.8)
    found = dict.fromkeys(row.arm for row in rows if row.ratio > 0)
    arms = [arm for arm in ARM_NAMES if arm in found] + [arm for arm in found if arm not in ARM_NAMES]
    for index, arm in enumerate(arms):
        of_arm = sorted((row for row in rows if row.arm == arm and row.ratio > 0), key=lambda row: row.ratio)
        shift = 0.14 * (index - (len(arms) - 1) / 2)
        places = [ratios.index(row.ratio) + shift for row in of_arm]
        label = f"pictures from the {ARM_NAMES.get(arm, drawable(arm, 24))}"
        _draw_points(axes, places, of_arm, fmt="o-", color=_COLOURS.get(arm, "#cc79a7"), label=label)
    at_zero = [row for row in rows if row.ratio == 0]
    places = [float(len(ratios) + controls.index(row.arm)) for row in at_zero]
    _draw_points(axes, places, at_zero, fmt="s", color=_CONTROL_COLOUR, label=None)
    names = [f"{ratio:g}\N{MULTIPLICATION SIGN}" for ratio in ratios]
    names += [ARM_NAMES.get(arm, drawable(arm, 24)) for arm in controls]
    if ratios and controls:
        axes.axvline(len(ratios) - 0.5, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(names)), names)
    for text in axes.get_xticklabels()[len(ratios) :]:
        text.set(rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", linewidth=0.4, color="#cccccc")


def _draw_points(
    axes: Axes,
    places: Sequence[float],
    rows: Sequence[SweepRow],
    *,
    fmt: str,
    color: str,
    label: str | None,
) -> None:
    if not rows:
        return
    gains = np.asarray([row.weak_gain for row in rows])
    # A percentile interval of few resamples can miss its own mean; a bar has no negative length.
    below = np.maximum(0, gains - [row.weak_gain_low for row in rows])
    above = np.maximum(0, [row.weak_gain_high for row in rows] - gains)
    axes.errorbar(
        places, gains, yerr=[below, above], fmt=fmt, color=color, label=label,
        linewidth=1.2, markersize=5, elinewidth=1.2, capsize=2.5,
    )  # fmt: skip


def _render(draw: Callable[[Figure], None], height_px: int) -> bytes:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH_PX / _DPI, height_px / _DPI), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return _png_of(Image.open(buffer))


def _png_of(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()


@cache
def _font_path() -> str:
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@cache
def _font() -> FT2Font:
    return FT2Font(_font_path())
