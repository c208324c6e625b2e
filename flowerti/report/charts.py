"""Charts of the classifier and of the tokens: learning curves, confusion, evaluation losses.

This module knows nothing about the page or the run directory, and computes no result: it only draws.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from flowerti.artifacts.records import ClassifierReport, EpochScore, Learned
from flowerti.report.canvas import LINE_COLOUR, drawable, render

_MAX_SHOWN_CLASSES = 20
_MAX_NAMED_CURVES = 10

Counts = Float64[np.ndarray, "_ _"]


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
                    color=LINE_COLOUR if split == "validation" else "#777777",
                    label=split,
                )
            axes.set(title=what + unit, xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(0, 1)
        axes.legend(loc="lower right")

    return render(draw, height_px=400)


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

    return render(draw, height_px=920)


def loss_curves_png(learned: Sequence[Learned]) -> bytes:
    """Draw each token's evaluation loss as its change since the first; a dot marks the rows kept."""
    with_curve = [one for one in learned if one.loss_curve]
    named = len(with_curve) <= _MAX_NAMED_CURVES

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color="#999999", linewidth=0.8)
        for index, one in enumerate(with_curve):
            steps = [point.step for point in one.loss_curve]
            change = [point.loss - one.loss_curve[0].loss for point in one.loss_curve]
            colour = colormaps["tab10"](index) if named else LINE_COLOUR
            label = drawable(one.class_name, 28) if named else None
            axes.plot(steps, change, color=colour, alpha=1.0 if named else 0.3, label=label)
            if one.best_step in steps:
                axes.plot(
                    one.best_step,
                    change[steps.index(one.best_step)],
                    "o",
                    color=colour,
                    markersize=5,
                )
        axes.set(xlabel="optimiser step", title="change of the evaluation loss since step 0")
        if named:
            figure.legend(loc="outside right upper")

    return render(draw, height_px=460)


def _shown_ids(counts: Counts, weak_ids: list[int]) -> list[int]:
    if len(counts) <= _MAX_SHOWN_CLASSES:
        return list(range(len(counts)))
    confused = counts[weak_ids].sum(axis=0) + counts[:, weak_ids].sum(axis=1)
    confused[weak_ids] = np.inf
    return sorted(np.argsort(-confused, kind="stable")[:_MAX_SHOWN_CLASSES].tolist())


def _merge_others(counts: Counts, shown: list[int]) -> Counts:
    group = np.full(len(counts), len(shown))
    group[shown] = np.arange(len(shown))
    merged = np.zeros((len(shown) + 1, len(shown) + 1))
    np.add.at(merged, (group[:, None], group[None, :]), counts)
    return merged


def _write_counts(axes: Axes, counts: Counts, shares: Counts) -> None:
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
