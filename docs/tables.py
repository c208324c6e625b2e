"""Prints the README's table of results from `results/*/summary.json`: `python docs/tables.py`.

`tests/test_readme.py` holds the README to it. This script knows nothing about how a run works.
"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
RUNS = {
    "demo": "drawn herbarium, its own base",
    "flowers102-64": "Oxford 102 at 64 px, official split",
    "flowers102-64-long-tail": "Oxford 102 at 64 px, long tail",
}
_HEAD = """\
| run | weak-class F1, real only | with token images | best free control | token nearer than name | ratio |
|---|---|---|---|---|---|"""


def table() -> str:
    """The table as Markdown."""
    rows = [_row(name, what) for name, what in RUNS.items()]
    return "\n".join([_HEAD, *rows])


def _row(name: str, what: str) -> str:
    summary = json.loads((RESULTS / name / "summary.json").read_text(encoding="utf-8"))
    tested = {row["arm"]: row for row in summary["sweep"] if row["split"] == "test"}
    # a summary of format 2 names neither sources nor arms
    judged = next((row["name"] for row in summary.get("sources", []) if row["is_judged"]), "token")
    control = summary["best_control"]
    cells = [
        f"[{what}](results/{name}/summary.json)",
        f"{tested['real']['weak_f1']:.2f}",
        f"{_change(tested[judged])} at {tested[judged]['ratio']:g}×",
        f"{_label(summary, control)} {_change(tested[control])}" if control != "real" else "none",
        _nearer(summary, judged),
        f"{summary['recommended_ratio']:g}",
    ]
    return f"| {' | '.join(cells)} |"


def _change(row: dict[str, Any]) -> str:
    return f"{row['weak_gain']:+.2f} ({row['weak_gain_low']:+.2f} to {row['weak_gain_high']:+.2f})"


def _label(summary: dict[str, Any], arm: str) -> str:
    return next((row["label"] for row in summary.get("arms", []) if row["name"] == arm), arm.replace("_", " "))


def _nearer(summary: dict[str, Any], judged: str) -> str:
    """In how many classes the interval of the kernel distance's difference lies above 0, on test."""
    compared = [
        row
        for row in summary["comparisons"]
        if (row["closer"], row["than"], row["metric"], row["reference"]) == (judged, "raw", "kernel", "test")
        and row["extractor"] == summary["extractors"][0]["name"]
    ]
    nearer = [row for row in compared if row["low"] is not None and row["low"] > 0]
    return f"{len(nearer)} of {len(compared)} classes"


if __name__ == "__main__":
    print(table())
