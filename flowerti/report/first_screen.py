"""What stands on the first screen besides its sentences: arms compared, one line for each weak class, commands.

All of it comes from `summary.json`. This module knows nothing about how the page looks.
"""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]

RECOMMENDED, CONTROL, JUDGED = "recommended", "best free control", "with the token"


def shown_split(summary: Row) -> str:
    """The split of the first screen's numbers: test once an arm was tried on it."""
    return "test" if any(row["split"] == "test" and row["arm"] != "real" for row in summary["sweep"]) else "validation"


def shown_rows(summary: Row) -> dict[str, Row]:
    """One row of the sweep for each arm on that split, at the level with the largest gain where there are several."""
    of_split = [row for row in summary["sweep"] if row["split"] == shown_split(summary)]
    found: dict[str, Row] = {}
    for row in sorted(of_split, key=lambda row: -(row["weak_gain"] or 0.0)):
        found.setdefault(row["arm"], row)
    return found


def roles(summary: Row) -> dict[str, list[str]]:
    """What each arm of interest is: recommended, the best free control, the one with the judged images."""
    verdict, found = summary["verdict"], {}
    if verdict and verdict["action"].startswith("use_"):
        found[verdict["arm"]] = [RECOMMENDED]
    if summary["best_control"] not in ("", "real"):
        found.setdefault(summary["best_control"], []).append(CONTROL)
    found.setdefault(summary["judged_arm"], []).append(JUDGED)
    return found


def compared(summary: Row) -> list[dict[str, Any]]:
    """Weak-class F1 before and after for each arm with a role, as far as it was tried.

    `control` is the row of the arm's own control where that is more than real images alone: beside these, what the
    control brings by itself would count as the images'.
    """
    rows = shown_rows(summary)
    before = rows.get("real", {}).get("weak_f1")
    controls = {arm["name"]: arm["control"] for arm in summary["arms"] if arm["control"] != "real"}
    return [
        {"arm": arm, "roles": of_arm, "before": before, "row": rows[arm], "control": rows.get(controls.get(arm, ""))}
        for arm, of_arm in roles(summary).items()
        if arm in rows and before is not None
    ]


def weak_class_lines(summary: Row) -> list[dict[str, Any]]:
    """F1 of each weak class with real images alone and under each arm with a role."""
    split, rows = shown_split(summary), shown_rows(summary)
    arms = ["real", *(arm for arm in roles(summary) if arm in rows)]
    cells = {
        (row["class_name"], row["arm"]): row
        for row in summary["sweep_classes"]
        if row["split"] == split and row["arm"] in rows and row["ratio"] == rows[row["arm"]]["ratio"]
    }
    lines = []
    for chosen in summary["selected"]:
        name = chosen["class_name"]
        of_class = [cells.get((name, arm)) for arm in arms]
        known = [cell["f1"] for cell in of_class if cell and cell["f1"] is not None]
        num = next((cell["num_pictures"] for cell in of_class if cell), None)
        lines.append({"class_name": name, "cells": of_class, "best": max(known, default=None), "num": num})
    return lines


def first_commands(summary: Row) -> list[dict[str, str]]:
    """What to type to use the result: what it is for, and the command."""
    verdict = summary["verdict"]
    arms = {arm["name"]: arm for arm in summary["arms"]}
    found = []
    if verdict and verdict["action"] in ("use_generated", "use_name"):
        arm = arms.get(verdict["arm"], {"source": "", "level": "ratio"})
        options = f"--what parquet --sources {arm['source']}"
        options += f" --ratio {verdict['ratio']:g}" if arm["level"] == "ratio" else ""
        found.append(_command("The training set with these images, for Hugging Face datasets", "set", options))
    elif verdict and verdict["action"] == "use_control":
        found.append(
            {"what": "Nothing is to be exported: train on your own images as the first line says.", "line": ""}
        )
    if any(not concept["error"] for concept in summary["concepts"]):
        found.append(_command("The tokens, for diffusers, AUTOMATIC1111 and ComfyUI", "tokens", "--what tokens"))
    if summary["sets"]:
        found.append(_command("The drawn images alone", "images", "--what images"))
    found.append({"what": "This page again, after a new version", "line": "flowerti report RUN_DIR"})
    again = "python -m flowerti.report.recompute RUN_DIR"
    found.append({"what": "Every interval again, from the published predictions", "line": again})
    return found


def _command(what: str, folder: str, options: str) -> dict[str, str]:
    return {"what": what, "line": f"flowerti export RUN_DIR exported/{folder} {options}"}
