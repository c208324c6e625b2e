"""Selects the weak classes: those with a low validation F1, with few training images, or both.

The ranking by both criteria is always computed, so that a report can compare it with classes that were fixed by hand.
Every selected class has a reason as a sentence. This module does not know how the scores were computed, and never uses
the test split.
"""

import difflib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Int64, Num

from flowerti.artifacts.records import ClassScore, SelectedClass, Selection
from flowerti.config.experiment import SelectionConfig


def select(
    classes: list[ClassScore], counts: dict[str, int], config: SelectionConfig, spoilt: Mapping[str, str] | None = None
) -> Selection:
    """Select weak classes.

    Rank 1 is the weakest class; equal values share the better rank, and ties are broken by name.

    Args:
        classes: validation scores of all classes.
        counts: training images of each class, by name.
        config: the rule, and how many classes or which ones.
        spoilt: classes that no rule may choose, with the reason as a clause; fixed classes are chosen all the same.

    Returns:
        The weakest class first, or the fixed classes in the order of the config; beside them what "blend" picks, and
        the classes that were passed over. Fewer than asked for where the others are spoilt.

    Raises:
        ValueError: a fixed class does not exist, a class has no count or occurs twice, fewer classes exist than are
            to be selected, or all are spoilt.
    """
    spoilt = spoilt or {}
    names = [score.class_name for score in classes]
    _check(names, counts, config)
    f1_ranks = _ranks(np.array([score.f1 for score in classes]))
    count_ranks = _ranks(np.array([counts[name] for name in names]))
    standings = {"lowest_f1": f1_ranks, "fewest_images": count_ranks, "blend": (f1_ranks + count_ranks) / 2}
    rows = _rows(classes, counts, f1_ranks, count_ranks)
    num = len(config.class_names) if config.rule == "fixed" else config.num_classes
    by_evidence, passed_over = _unspoilt(_weakest(names, standings["blend"]), spoilt, num)
    chosen = list(config.class_names)
    if config.rule != "fixed":
        chosen, passed_over = _unspoilt(_weakest(names, standings[config.rule]), spoilt, num)
        _check_some(chosen, config.rule, passed_over, spoilt)
    return Selection(
        selected=[rows[n] for n in chosen],
        by_evidence=[rows[n] for n in by_evidence],
        passed_over=[replace(rows[n], reason=f"{rows[n].reason}; {spoilt[n]}") for n in passed_over],
    )


def _rows(
    classes: list[ClassScore],
    counts: dict[str, int],
    f1_ranks: Int64[np.ndarray, " num"],
    count_ranks: Int64[np.ndarray, " num"],
) -> dict[str, SelectedClass]:
    """Each class with the reason for which it could be selected."""
    return {
        score.class_name: SelectedClass(
            class_name=score.class_name,
            num_train=counts[score.class_name],
            f1_validation=score.f1,
            reason=f"validation F1 {score.f1:.2f}, {_place(f1_ranks, i, 'lowest')}; "
            f"{_images(counts[score.class_name])}, {_place(count_ranks, i, 'fewest')}",
        )
        for i, score in enumerate(classes)
    }


def _unspoilt(weakest: list[str], spoilt: Mapping[str, str], num: int) -> tuple[list[str], list[str]]:
    """The first `num` classes that are not spoilt, and those that are and stand before the last of them."""
    chosen = [name for name in weakest if name not in spoilt][:num]
    reached = weakest.index(chosen[-1]) if len(chosen) == num else len(weakest)
    return chosen, [name for name in weakest[:reached] if name in spoilt]


def _check_some(chosen: list[str], rule: str, passed_over: list[str], spoilt: Mapping[str, str]) -> None:
    if not chosen:
        first = passed_over[0]
        raise ValueError(
            f"selection.rule: {rule!r} is left with no class: of {first!r} {spoilt[first]}, and the like holds "
            "of all others: use a base made without some classes (--held-out-classes), or set base.allow_seen_held_out"
        )


def _check(names: list[str], counts: dict[str, int], config: SelectionConfig) -> None:
    if len(set(names)) != len(names):
        raise ValueError("classes: a class name occurs twice: rename one of the classes")
    missing = [name for name in names if name not in counts]
    if missing:
        raise ValueError(f"counts: number of training images of {missing[0]!r} is missing: count every class")
    for name in config.class_names:
        if name not in names:
            raise ValueError(f"selection.class_names: {name!r} is no class of the data set{_hint(name, names)}")
    if config.rule != "fixed" and config.num_classes > len(names):
        raise ValueError(f"selection.num_classes is {config.num_classes}, but there are {len(names)} classes: lower it")


def _hint(name: str, names: list[str]) -> str:
    by_folded = {known.casefold(): known for known in names}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=3)
    return ": did you mean " + " or ".join(repr(by_folded[m]) for m in matches) + "?" if matches else ": check its name"


def _ranks(values: Num[np.ndarray, " num"]) -> Int64[np.ndarray, " num"]:
    """1 + how many values are smaller."""
    return 1 + np.searchsorted(np.sort(values), values, side="left")


def _weakest(names: list[str], standing: Num[np.ndarray, " num"]) -> list[str]:
    return [name for _, name in sorted(zip(standing, names, strict=True))]


def _place(ranks: Int64[np.ndarray, " num"], i: int, word: str) -> str:
    """Format a rank, for example "3rd lowest of 14", with the number of classes that share it."""
    rank, total, sharing = int(ranks[i]), len(ranks), int((ranks == ranks[i]).sum())
    if sharing == total > 1:
        return f"as every class of {total}"
    ordinal = "" if rank == 1 else f"{_ordinal(rank)} "
    tied = f" (with {sharing - 1} other{'s' if sharing > 2 else ''})" if sharing > 1 else ""
    return f"{ordinal}{word} of {total}{tied}"


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def _images(count: int) -> str:
    return f"{count} training image{'' if count == 1 else 's'}"
