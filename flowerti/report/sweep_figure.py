"""The sweep's chart: what each arm gains over real images only, by level, on validation and on test.

This module computes no result: it only draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowerti.artifacts.records import SweepRow
from flowerti.report.canvas import drawable, render
from flowerti.report.formats import level
from flowerti.tables.arms import Arm
from flowerti.tables.sources import SOURCES

_OTHER_COLOURS = ("#cc79a7", "#8c6d1f", "#7a5195", "#b2182b")
_CONTROL_COLOUR = "#555555"
_SPLIT_TITLES = {"validation": "validation", "test": "test, opened once"}
_MAX_SHIFT = 0.14
"""Between two arms at one level, in units of the distance between levels."""
_MAX_LEGEND_COLUMNS = 3


def has_gains(rows: Sequence[SweepRow]) -> bool:
    """Whether there is anything to draw."""
    return any(_gains(rows, split) for split in _SPLIT_TITLES)


def sweep_png(rows: Sequence[SweepRow], arms: Sequence[Arm]) -> bytes:
    """Draw the gain in weak-class F1 over real images only, with 95 % intervals.

    Args:
        rows: of both splits.
        arms: every arm in them, in the order of the legend.
    """
    by_split = {split: _gains(rows, split) for split in _SPLIT_TITLES}
    by_split = {split: found for split, found in by_split.items() if found}
    looks = _looks_of(arms, [row for found in by_split.values() for row in found])

    def draw(figure: Figure) -> None:
        slots = [max(2, len(_levels(found, looks)) + len(_controls(found))) for found in by_split.values()]
        grid = figure.subplots(1, len(by_split), sharey=True, squeeze=False, width_ratios=slots)
        labelled = {}
        for axes, (split, found) in zip(grid[0], by_split.items(), strict=True):
            _draw_gains(axes, found, looks)
            axes.set_title(_SPLIT_TITLES[split])
            handles, labels = axes.get_legend_handles_labels()
            labelled = dict(zip(labels, handles, strict=True)) | labelled
        grid[0, 0].set_ylabel("gain in weak-class F1")
        if labelled:
            ncols = min(_MAX_LEGEND_COLUMNS, len(labelled))
            figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=ncols, fontsize=9)

    return render(draw, height_px=620)


def _gains(rows: Sequence[SweepRow], split: str) -> list[SweepRow]:
    return [
        row
        for row in rows
        if row.split == split
        and row.arm != "real"
        and np.isfinite([row.weak_gain, row.weak_gain_low, row.weak_gain_high]).all()
    ]


def _controls(rows: Sequence[SweepRow]) -> list[str]:
    return list(dict.fromkeys(row.arm for row in rows if row.ratio == 0))


@dataclass(frozen=True, slots=True)
class _Look:
    """How an arm is drawn, on both splits alike."""

    label: str
    colour: str
    level: str
    """Meaning of its level: "ratio" or "probability"."""


def _levels(rows: Sequence[SweepRow], looks: dict[str, _Look]) -> list[str]:
    """Levels as the axis has them: probabilities first, then ratios, each from small to large."""
    found = {(looks[row.arm].level, row.ratio) for row in rows if row.ratio > 0}
    return [level(kind, number) for kind, number in sorted(found)]


def _looks_of(arms: Sequence[Arm], rows: Sequence[SweepRow]) -> dict[str, _Look]:
    """Arms of single sources have the sources' colours, other arms with levels take turns.

    An arm that nobody named stands under its own name.
    """
    labels, levels = {arm.name: arm.label for arm in arms}, {arm.name: arm.level for arm in arms}
    labels |= {row.arm: row.arm for row in rows if row.arm not in labels}
    with_levels = {row.arm for row in rows if row.ratio > 0}
    others = [name for name in labels if name in with_levels and name not in SOURCES]
    colours = dict.fromkeys(labels, _CONTROL_COLOUR)
    colours |= {name: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, name in enumerate(others)}
    colours |= {source.name: source.colour for source in SOURCES}
    return {name: _Look(label, colours[name], levels.get(name, "ratio")) for name, label in labels.items()}


def _draw_gains(axes: Axes, rows: Sequence[SweepRow], looks: dict[str, _Look]) -> None:
    levels, controls = _levels(rows, looks), _controls(rows)
    axes.axhline(0, color="#222222", linewidth=0.8)
    _draw_arms(axes, [row for row in rows if row.ratio > 0], levels, looks)
    at_zero = [row for row in rows if row.ratio == 0]
    places = [float(len(levels) + controls.index(row.arm)) for row in at_zero]
    _draw_points(axes, places, at_zero, fmt="s", color=_CONTROL_COLOUR, label=None)
    names = [*levels, *(drawable(looks[arm].label, 32) for arm in controls)]
    if levels and controls:
        axes.axvline(len(levels) - 0.5, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(names)), names)
    for text in axes.get_xticklabels()[len(levels) :]:
        text.set(rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", linewidth=0.4, color="#cccccc")


def _draw_arms(axes: Axes, rows: Sequence[SweepRow], levels: list[str], looks: dict[str, _Look]) -> None:
    found = {row.arm for row in rows}
    arms = [arm for arm in looks if arm in found]
    for index, arm in enumerate(arms):
        of_arm = sorted((row for row in rows if row.arm == arm), key=lambda row: row.ratio)
        shift = min(_MAX_SHIFT, 0.7 / len(arms)) * (index - (len(arms) - 1) / 2)
        look = looks[arm]
        places = [levels.index(level(look.level, row.ratio)) + shift for row in of_arm]
        _draw_points(axes, places, of_arm, fmt="o-", color=look.colour, label=drawable(look.label, 36))


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
