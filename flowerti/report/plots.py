"""Where marks and words stand in the page's drawings; the templates draw them as SVG.

Across, a forest plot is measured in percent of its width, so that its words keep their size on a phone. This module
computes no result, and knows nothing about colours.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from flowerti.report.first_screen import roles, shown_rows

Row = Mapping[str, Any]

LINE_PX, BAR_PX, LEFT, RIGHT = 16, 18, 1.5, 98.5
_LABEL_LETTERS = 44
_NUM_TICKS = 5
PANEL_WIDTH, PANEL_HEIGHT = 220, 120
SPARK_WIDTH, SPARK_HEIGHT = 120, 32
_PAD = 12


def ticks(low: float, high: float, num: int = _NUM_TICKS) -> list[float]:
    """At most about `num` round numbers from `low` to `high`."""
    span = high - low
    if not span > 0:
        return [low]
    rough = span / num
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _is_drawn(row: Row) -> bool:
    return row["arm"] != "real" and None not in (row["weak_gain"], row["weak_gain_low"], row["weak_gain_high"])


def _range(rows: Sequence[Row]) -> tuple[float, float]:
    low = min([0.0, *(min(row["weak_gain_low"], row["weak_gain"]) for row in rows)])
    high = max([0.0, *(max(row["weak_gain_high"], row["weak_gain"]) for row in rows)])
    return (low, high) if high > low else (low, low + 1.0)


def forest(summary: Row, label_of: Mapping[tuple[str, float], str]) -> dict[str, Any]:
    """Every arm's gain with its interval, the largest first; empty rows where nothing was tried.

    Args:
        summary: as in summary.json.
        label_of: what an arm at a level is called.

    Returns:
        Rows from above, ticks, the place of zero, and the height in pixels; places across are in percent.
    """
    drawn = sorted(filter(_is_drawn, shown_rows(summary).values()), key=lambda row: -row["weak_gain"])
    low, high = _range(drawn)
    scale = (RIGHT - LEFT) / (high - low)
    of_role, with_images = roles(summary), {arm["name"] for arm in summary["arms"] if arm["source"]}
    rows, top = [], 0
    for row in drawn:
        lines, mark = _words(label_of[row["arm"], row["ratio"]], of_role.get(row["arm"], []))
        places = {
            name: round(LEFT + (row[f"weak_gain{end}"] - low) * scale, 2)
            for name, end in (("x", ""), ("x_low", "_low"), ("x_high", "_high"))
        }
        bar = top + LINE_PX * len(lines) + BAR_PX // 2
        rows.append(
            {"row": row, "lines": lines, "top": top, "bar": bar, "mark": mark}
            | {"has_images": row["arm"] in with_images}
            | places
        )
        top = bar + BAR_PX // 2 + 3
    marks = [{"value": value, "x": round(LEFT + (value - low) * scale, 2)} for value in ticks(low, high)]
    return {"rows": rows, "ticks": marks, "zero": round(LEFT - low * scale, 2), "bottom": top, "height": top + 20}


def _words(label: str, roles_of_arm: Sequence[str]) -> tuple[list[str], str]:
    """A label in lines, and what stands behind the last: on a line of its own where both are too long for a phone."""
    lines, mark = textwrap.wrap(label, _LABEL_LETTERS) or [label], ", ".join(roles_of_arm)
    fits = len(lines[-1]) + len(mark) + 3 <= _LABEL_LETTERS
    return (lines if fits or not mark else [*lines, ""]), mark


def ratio_panels(summary: Row) -> list[dict[str, Any]]:
    """A small chart for each arm with levels: its gain by level on validation, and the point on test."""
    leveled = [row for row in summary["sweep"] if row["ratio"] > 0 and _is_drawn(row)]
    if not leveled:
        return []
    low, high = _range(leveled)
    levels = {arm["name"]: arm["level"] for arm in summary["arms"]}
    scale = (PANEL_HEIGHT - 2 * _PAD - 14) / (high - low)

    def height(value: float) -> float:
        return round(_PAD + (high - value) * scale, 1)

    panels = []
    for arm in dict.fromkeys(row["arm"] for row in leveled):
        kind = levels.get(arm, "ratio")
        numbers = sorted({row["ratio"] for row in leveled if levels.get(row["arm"], "ratio") == kind})
        step = (PANEL_WIDTH - 60) / max(1, len(numbers) - 1)
        points = [
            {"split": row["split"], "row": row, "x": round(42 + numbers.index(row["ratio"]) * step, 1)}
            | {"y": height(row["weak_gain"])}
            | {"y_low": height(row["weak_gain_low"]), "y_high": height(row["weak_gain_high"])}
            for row in sorted(leveled, key=lambda row: row["ratio"])
            if row["arm"] == arm
        ]
        path = " ".join(f"{p['x']},{p['y']}" for p in points if p["split"] == "validation")
        axis = [{"x": round(42 + i * step, 1), "value": number} for i, number in enumerate(numbers)]
        marks = [{"y": height(value), "value": value} for value in ticks(low, high, 4)]
        panels.append({"arm": arm, "points": points, "path": path, "axis": axis, "ticks": marks, "zero": height(0.0)})
    return panels


def sparkline(values: Sequence[float]) -> str:
    """The points of a line through the values, from left to right, in a box of SPARK_WIDTH by SPARK_HEIGHT."""
    low, high = min(values), max(values)
    across = (SPARK_WIDTH - 4) / max(1, len(values) - 1)
    down = (SPARK_HEIGHT - 4) / (high - low) if high > low else 0.0
    return " ".join(f"{2 + i * across:.1f},{2 + (high - value) * down:.1f}" for i, value in enumerate(values))
