"""Sentences about repetitions: what the intervals rest on, and on what they are conditional.

This module does not know how anything is repeated.
"""

from collections.abc import Mapping
from typing import Any

_PLURALS = {
    "draw of training images": "draws of training images",
    "learning": "learnings of every class",
    "pool of images": "pools of images",
    "classifier seed": "classifier seeds",
}
_FEW = 5


def basis(summary: Mapping[str, Any]) -> str:
    """What intervals rest on, and on what they are conditional, in one sentence; empty without a protocol."""
    replication = summary["replication"]
    if replication is None:
        return ""
    num, unit = replication["num_units"], replication["outermost_step"]
    rest = f"Intervals rest on {num} {_PLURALS[unit]}"
    if num == 1:
        rest = "Every arm was trained once: intervals rest on the held-out images alone"
    shared = replication["conditional_on"]
    if not shared:
        return f"{rest}."
    return f"{rest} and are conditional on {_listed(shared)}: how much others would change the gain is in none of them."


def caution(summary: Mapping[str, Any]) -> str:
    """That few repetitions know little of their own variance; empty where there are enough."""
    replication = summary["replication"]
    if replication is None or replication["num_units"] >= _FEW:
        return ""
    num, unit = replication["num_units"], replication["outermost_step"]
    what = f"{num} {_PLURALS[unit]}" if num > 1 else "a single training of each arm"
    return f"With {what} the intervals hardly know how much repeating changes the gain, and are wide for it."


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
