"""What the page says about the images that the base was trained on.

This module knows nothing about bases or images: it puts the summary's counts into words.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_MAX_NAMES = 5
_SPLITS = (("train", "training"), ("validation", "validation"), ("test", "test"))


def what_the_base_has_seen(summary: Mapping[str, Any]) -> str:
    """How many of the run's images the base was trained on, and which numbers that touches, in sentences.

    Args:
        summary: what `build_summary` returned, or the same read back from `summary.json`.
    """
    base = summary["base"]
    if base["seen_in_training"] is None:
        return (
            "Which images the base was trained on is not known: it brings no list of them. Validation and test images "
            "may be among them."
        )
    if base["drawn"]:
        return f"The base was trained on none of this run's images: {base['drawn']}"
    seen, total = base["seen_in_training"], summary["num_pictures"]
    if not any(seen.values()):
        return (
            "The base was trained on none of this run's images, pixel for pixel; images that were compressed, cropped "
            "or scaled again before its training are not recognised."
        )
    parts = [f"{seen[split]} of {total[split]} {word}" for split, word in _SPLITS]
    counts = f"The base was trained on {parts[0]}, {parts[1]} and {parts[2]} images of this run, pixel for pixel"
    return f"{counts}. {_on_weak_classes(summary)} {_on_the_rest(summary)}".rstrip()


def spoilt_weak_classes(summary: Mapping[str, Any]) -> list[str]:
    """Weak classes of which the base has seen validation or test images: the run was told to let them through."""
    selected = [chosen["class_name"] for chosen in summary["selected"]]
    return [name for name in _held_out_seen(summary) if name in selected]


def _on_weak_classes(summary: Mapping[str, Any]) -> str:
    spoilt = spoilt_weak_classes(summary)
    if not spoilt:
        return "None of the weak classes has validation or test images among them."
    return (
        f"Among them are validation or test images of the weak classes {_listed(spoilt)}: what is drawn for these may "
        "repeat the images by which it is judged, and no gain of theirs can be trusted."
    )


def _on_the_rest(summary: Mapping[str, Any]) -> str:
    selected = {chosen["class_name"] for chosen in summary["selected"]}
    others = [name for name in _held_out_seen(summary) if name not in selected]
    if not others:
        return ""
    return (
        f"It has seen validation or test images of {len(others)} other {'class' if len(others) == 1 else 'classes'} "
        f"({_listed(others)}). This touches the F1 of the rest, and every rank among all classes: drawn images may lie "
        "nearer to images that the base has seen than to new ones of the same class."
    )


def _held_out_seen(summary: Mapping[str, Any]) -> list[str]:
    return [row["class_name"] for row in summary["base"]["seen_classes"] if row["num_validation"] + row["num_test"]]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES])
    return shown if len(names) <= _MAX_NAMES else f"{shown} and {len(names) - _MAX_NAMES} more"
