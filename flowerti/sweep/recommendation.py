"""Chooses the number of synthetic images from validation results, with reasons and equally good alternatives.

The rule is conservative: it recommends 0 unless a gain is statistically significant. This module works on rows only: it
does not know how they were computed, nor how a trial is trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowerti.artifacts.records import SweepRow
from flowerti.artifacts.sweep import ClassRatio, SweepClassRow, SweepContrast
from flowerti.config.experiment import SweepConfig
from flowerti.sweep.intervals import TIE
from flowerti.sweep.significance import holm_by
from flowerti.tables import Table
from flowerti.tables.arms import BASELINE, Arm, reference_of

SIGNIFICANCE = 0.05
_HOW = {
    "fixed": "Let a synthetic image take a weak class's real one's place with probability {level:g}",
    "added": "Use {level:g} synthetic images for each real one",
}


def _check_validation(rows: Sequence[SweepRow] | Sequence[SweepClassRow]) -> None:
    if any(row.split != "validation" for row in rows):
        raise ValueError("validation_rows: hold another split; choose on validation only")


def best_control(validation_rows: Sequence[SweepRow], arms: Table[Arm], config: SweepConfig) -> Arm:
    """The arm without synthetic images with the highest weak F1, among those that do not harm the other classes.

    Args:
        validation_rows: rows on the validation split.
        arms: definitions of the rows' arms.
        config: `max_rest_drop`.

    Returns:
        The best control; the baseline if none improves on it.

    Raises:
        ValueError: rows of another split than validation, or an unknown arm.
    """
    _check_validation(validation_rows)
    rows = [row for row in validation_rows if arms[row.arm].is_control and row.arm != BASELINE.name]
    better = [row for row in rows if row.weak_gain > TIE]
    # shown to be harmless, or else on the average: on top of a control that fails the rule, no images could pass it
    for rest in (lambda row: row.rest_gain_low, lambda row: row.rest_gain):
        harmless = [row for row in better if rest(row) >= -config.max_rest_drop]
        if harmless:
            return arms[max(harmless, key=lambda row: row.weak_f1).arm]
    return BASELINE


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    """Indices of the ratios of an arm that pass each condition of the rule and all conditions before it."""

    rows: list[SweepRow]
    adjusted: list[float]
    """Holm-adjusted p-values of the gains over real images."""
    significant: list[int]
    harmless: list[int]
    kept: list[int]
    """Significantly better than real images, and than the same treatment without the images, if that was planned."""

    @property
    def best(self) -> int:
        """The ratio with the largest gain among those that pass the most conditions."""
        furthest = self.kept or self.harmless or self.significant or range(len(self.rows))
        return max(furthest, key=lambda i: self.rows[i].weak_gain)


def recommend(
    validation_rows: Sequence[SweepRow], arms: Table[Arm], config: SweepConfig, arm: Arm
) -> tuple[float, str]:
    """Choose the level of an arm: how often synthetic images replace real ones, or how many are added to each.

    A level qualifies where its p-value, adjusted over the arm's levels (Holm), is below 0.05, and the other classes
    are shown to lose no more than `config.max_rest_drop` (the lower end of their 95 % interval). The p-value of a level
    is the larger of two: of a gain over real images, and of a gain over the same treatment without the images. At fixed
    mass that is the arm's control; for added images it is oversampling the real images by the same ratio, because the
    larger share of the class alone, which any image provides, even a wrong one, may raise its F1. Both are adjusted
    together: adjusting the first alone recommended images without content in 14 % of simulated sweeps. A planned
    reference whose trials are missing qualifies no level. Of the qualifying levels, the one with the largest mean gain
    of weak F1 is chosen; if none qualifies, 0.

    Source: Holm 1979 (Scand. J. Statist. 6); Berger 1982 (Technometrics 24) for the larger of two p-values.

    Args:
        validation_rows: rows on the validation split.
        arms: what the rows' arms are: all that were planned.
        config: `max_rest_drop`.
        arm: the synthetic arm to judge.

    Returns:
        The level, and one or two sentences that explain it and name a control or plain prompt that does as well.

    Raises:
        ValueError: rows of another split than validation, or an unknown arm.
    """
    _check_validation(validation_rows)
    if not any(row.arm == arm.name for row in validation_rows):
        return 0.0, f"Use no synthetic images: the sweep holds no trial of arm {arm.name}."
    judged = _judge(validation_rows, arms, config, arm)
    best = judged.rows[judged.best]
    facts, rivals = _facts(best, judged.adjusted[judged.best]), _rivals(best, validation_rows, arms)
    if judged.kept:
        how = _HOW[arm.mass or "added"].format(level=best.ratio)
        return best.ratio, f"{how}: {facts}.{rivals}"
    refusal = _refusal(judged, config, arm, _missing_reference(validation_rows, arms, arm))
    return 0.0, f"Use no synthetic images: {refusal} ({facts}).{rivals}"


def _judge(validation_rows: Sequence[SweepRow], arms: Table[Arm], config: SweepConfig, arm: Arm) -> _Judged:
    rows = [row for row in validation_rows if row.arm == arm.name]
    adjusted = holm_by([row.weak_gain_p for row in rows], [arm.name] * len(rows))
    is_asked = reference_of(arms, arm) is not None
    both = [max(row.weak_gain_p, row.content_gain_p) if is_asked else row.weak_gain_p for row in rows]
    of_rule = holm_by(both, [arm.name] * len(rows))
    significant = [i for i, p in enumerate(adjusted) if p < SIGNIFICANCE and rows[i].weak_gain > 0]
    harmless = [i for i in significant if rows[i].rest_gain_low >= -config.max_rest_drop]
    kept = [i for i in harmless if of_rule[i] < SIGNIFICANCE]
    return _Judged(rows=rows, adjusted=adjusted, significant=significant, harmless=harmless, kept=kept)


def _missing_reference(rows: Sequence[SweepRow], arms: Table[Arm], arm: Arm) -> str:
    """The name of the planned reference of an arm where it has no row; empty if it has some, or was not planned."""
    found = reference_of(arms, arm)
    return found.name if found is not None and not any(row.arm == found.name for row in rows) else ""


def _refusal(judged: _Judged, config: SweepConfig, arm: Arm, missing_reference: str) -> str:
    best, level = judged.rows[judged.best], arm.level
    if judged.harmless and missing_reference:
        return f"{level} {best.ratio:g} gains, but no trial of arm {missing_reference}, its control, came to its end"
    if judged.harmless:
        without = f"{_without_content(arm)} does" if arm.replaces else "repeating the real images as often does"
        return f"{level} {best.ratio:g} gains, but not beyond what {without} ({best.content_gain:+.3f})"
    if judged.significant:
        lost = f"that the others lose no more than {config.max_rest_drop:g} (down to {best.rest_gain_low:+.3f})"
        return f"{level} {best.ratio:g} gains, but it is not shown {lost}"
    return f"no {level} gains beyond chance, the best being {best.ratio:g}"


def _without_content(arm: Arm) -> str:
    """What an arm at fixed mass must beat, in words."""
    return f"arm {arm.held_against}" if arm.held_against else f"{arm.control} without the images"


def recommend_classes(
    validation_rows: Sequence[SweepClassRow],
    sweep_rows: Sequence[SweepRow],
    arms: Table[Arm],
    config: SweepConfig,
    arm: Arm,
) -> list[ClassRatio]:
    """Choose a level for each weak class separately: 0 unless the gain of its F1 is significant.

    The rule is that of `recommend`, with p-values adjusted over all weak classes and levels of the arm (Holm), and the
    other classes' loss taken from the arm's row. All weak classes have the same level in every trial, so combinations
    of different levels were not tested.

    Args:
        validation_rows: rows of single classes on the validation split.
        sweep_rows: rows of the arms on the validation split.
        arms: what the rows' arms are: all that were planned.
        config: `max_rest_drop`.
        arm: the synthetic arm to judge.

    Raises:
        ValueError: rows of another split than validation.
    """
    _check_validation(validation_rows)
    _check_validation(sweep_rows)
    harmless = {r.ratio for r in sweep_rows if r.arm == arm.name and r.rest_gain_low >= -config.max_rest_drop}
    own = [row for row in validation_rows if row.arm == arm.name]
    is_asked = reference_of(arms, arm) is not None
    both = [max(row.gain_p, row.content_gain_p) if is_asked else row.gain_p for row in own]
    of_rule = holm_by(both, [arm.name] * len(own))
    judged: dict[str, list[tuple[SweepClassRow, float]]] = {}
    for row, p in zip(own, of_rule, strict=True):
        judged.setdefault(row.class_name, []).append((row, p))
    return [_class_ratio(of_class, harmless, arm) for of_class in judged.values()]


def _class_ratio(judged: list[tuple[SweepClassRow, float]], harmless: set[float], arm: Arm) -> ClassRatio:
    """The level of one class, from its rows under the judged arm, each with the p-value that the rule looks at."""
    significant = [(row, p) for row, p in judged if row.holm_p < SIGNIFICANCE and row.gain > 0]
    kept = [(row, p) for row, p in significant if row.ratio in harmless and p < SIGNIFICANCE]
    best, p = max(kept or significant or judged, key=lambda one: one[0].gain)
    facts = (
        f"F1 {best.gain:+.3f} at {arm.level} {best.ratio:g} (95 % interval {best.gain_low:+.3f} to "
        f"{best.gain_high:+.3f}, Holm-adjusted p {p if kept else best.holm_p:.2g}, {best.num_images} validation images)"
    )
    if kept:
        return ClassRatio(class_name=best.class_name, ratio=best.ratio, reason=facts)
    problem = f"no {arm.level} gains beyond chance; the best"
    if significant:
        without = _without_content(arm) if arm.replaces else "repeated real images"
        problem = f"the other classes may lose too much, or it is not shown to beat {without}"
    return ClassRatio(class_name=best.class_name, ratio=0.0, reason=f"{problem}: {facts}")


def warn(ratio: float, contrasts: Sequence[SweepContrast], arms: Table[Arm], judged: Arm) -> list[str]:
    """Caveats of a positive recommendation: arms that the judged images do not significantly beat.

    Args:
        ratio: the recommended level.
        contrasts: the judged images at this level against other arms, on validation.
        arms: what the contrasts' arms are.
        judged: the arm that the recommendation is about.

    Returns:
        One sentence for each contrast whose interval does not lie above 0; none where nothing is recommended.
    """
    found = []
    for contrast in contrasts if ratio > 0 else ():
        if contrast.arm == judged.name and contrast.against_arm != BASELINE.name and contrast.low <= 0:
            kind = "free control" if arms[contrast.against_arm].is_free else "arm"
            found.append(
                f"The {kind} {contrast.against_arm} may do as well: the images of arm {judged.name} are "
                f"{contrast.difference:+.3f} against it (95 % interval {contrast.low:+.3f} to {contrast.high:+.3f})."
            )
    return found


def tell_of_others(
    validation_rows: Sequence[SweepRow], arms: Table[Arm], config: SweepConfig, judged: Arm
) -> list[str]:
    """Apply the rule to other sources that require training: for information, not part of the recommendation.

    Controls are omitted, those with the labels of other classes among them, and so are arms that mix images in
    otherwise or build on another control, whose gain would include that of the control.
    """
    run = {row.arm for row in validation_rows}
    return [
        f"The same rule for the images of arm {arm.name} ({arm.label}): "
        f"{recommend(validation_rows, arms, config, arm)[1]}"
        for arm in arms
        if (arm.mass, arm.donor, arm.control) == (judged.mass, "own", judged.control)
        if arm.source not in ("", judged.source)
        and not arm.is_plain_prompt
        and arm.labels != "source"
        and arm.name in run
    ]


def _facts(row: SweepRow, adjusted_p: float) -> str:
    return (
        f"on validation the weak classes' F1 changes by {row.weak_gain:+.3f} "
        f"(95 % interval {row.weak_gain_low:+.3f} to {row.weak_gain_high:+.3f}, "
        f"Holm-adjusted p {adjusted_p:.2g}) and the other classes' by {row.rest_gain:+.3f}"
    )


def _is_free_control(arm: Arm) -> bool:
    return arm.is_free and arm.name != BASELINE.name


_RIVALS: list[tuple[str, Callable[[Arm], bool]]] = [
    ("a free control", _is_free_control),
    ("a plain prompt", lambda arm: arm.is_plain_prompt),
]
"""Alternatives that require no training: named if they do as well."""


def _rivals(chosen: SweepRow, rows: Sequence[SweepRow], arms: Table[Arm]) -> str:
    """Name the best free control and plain prompt with a gain and at least the weak F1 of the chosen row."""
    notes = []
    others = [row for row in rows if row.arm != chosen.arm]
    reached = [row for row in others if row.weak_gain > 0 and row.weak_f1 >= chosen.weak_f1 - TIE]
    for kind, is_of_kind in _RIVALS:
        of_kind = [row for row in reached if is_of_kind(arms[row.arm])]
        if of_kind:
            best = max(of_kind, key=lambda row: row.weak_f1)
            at = f" at {arms[best.arm].level} {best.ratio:g}" if best.ratio > 0 else ""
            notes.append(
                f"{kind} does as well: {best.arm}{at} (weak F1 {best.weak_f1:.3f} against {chosen.weak_f1:.3f})"
            )
    return " But " + "; ".join(notes) + "." if notes else ""
