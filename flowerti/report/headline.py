"""The first sentences of a report: what to do, what it changes on test, and what this run could have seen.

This module does not know how the action was chosen.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flowerti.report.formats import signed
from flowerti.report.repetition_sentences import basis

_WITH = {
    "ratio": "Train with {ratio:g} images of the {label} for each real one of a weak class",
    "probability": "Train with {label}, with probability {ratio:g} in the weak classes",
}
"""By what the arm's level means."""
_PHRASES: dict[str, str] = {
    "use_generated": "{images}",
    "use_name": "{images}: nothing need be learnt",
    "use_control": "Train with {label}{times}, and add no synthetic images",
    "nothing_helped": "Add no synthetic images: nothing that was tried helps",
    "undecided": "Undecided: this run cannot tell whether anything helps",
}
_CONFIRMED = {
    "helps": "The {split} split confirms it",
    "harms": "The {split} split says the contrary",
    "equivalent": "On {split} the difference is too small to matter",
    "undecided": "The {split} split does not settle it",
}


def headline(summary: Mapping[str, Any], arm_label: Callable[[str], str]) -> str:
    """The action in one sentence; empty where the judged source has no images."""
    verdict = summary["verdict"]
    if verdict is None:
        return ""
    ratio, label = verdict["ratio"], arm_label(verdict["arm"])
    times = f" ({ratio:g} for each real one)" if ratio > 0 else ""
    levels = {arm["name"]: arm["level"] for arm in summary["arms"]}
    images = _WITH.get(levels[verdict["arm"]], "").format(ratio=ratio, label=label)
    return _PHRASES[verdict["action"]].format(images=images, label=label, times=times) + "."


def evidence(summary: Mapping[str, Any], arm_label: Callable[[str], str]) -> str:
    """What the action, or the judged arm where there is none, changes; and the smallest effect that would be found."""
    verdict = summary["verdict"]
    if verdict is None:
        return ""
    name, split = arm_label(verdict["arm"]), verdict["split"]
    numbers = (
        f"With {name} the weak classes' F1 on {split} goes from {verdict['before']:.3f} to {verdict['after']:.3f} "
        f"({signed(verdict['gain'])}, 95 % interval {signed(verdict['low'])} to {signed(verdict['high'])})."
    )
    is_action = verdict["action"].startswith("use_")
    told = [_CONFIRMED[verdict["answer"]].format(split=split) + "."] if is_action else []
    seen = f"A run like this finds a true gain of {verdict['detectable_effect']:.3f} four times in five."
    return " ".join(part for part in [*told, numbers, seen, basis(summary)] if part)
