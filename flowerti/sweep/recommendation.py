"""How many synthetic images to use, from the validation rows: the rule, its reasons, and what else does as well.

Do no harm: the answer is 0 unless an interval says otherwise. This module sees rows only: it does not know how they
came about, nor how a trial is trained.
"""

from collections.abc import Sequence

from flowerti.artifacts.records import SweepRow
from flowerti.artifacts.sweep import ClassRatio, SweepClassRow, SweepContrast
from flowerti.config.experiment import SweepConfig
from flowerti.sweep.bootstrap import TIE
from flowerti.sweep.mixing import REPEATED_ARM
from flowerti.sweep.statistics import holm_by

SIGNIFICANCE = 0.05
_FREE_CONTROLS = ("balanced", "balanced_softmax", "augmented", REPEATED_ARM)
_PROMPT_ARMS = ("raw", "alternative_name", "latin_name")


def _check_validation(rows: Sequence[SweepRow] | Sequence[SweepClassRow]) -> None:
    if any(row.split != "validation" for row in rows):
        raise ValueError("validation_rows: hold another split; choose on validation only")


def best_control(validation_rows: Sequence[SweepRow], config: SweepConfig) -> str:
    """The arm without synthetic images with the highest weak F1, among those that do the others no harm.

    Args:
        validation_rows: rows on the validation split.
        config: `max_rest_drop`.

    Returns:
        "real" where no control is better.

    Raises:
        ValueError: rows of another split than validation.
    """
    _check_validation(validation_rows)
    rows = [row for row in validation_rows if row.arm in _FREE_CONTROLS and row.ratio == 0]
    harmless = [row for row in rows if row.rest_gain >= -config.max_rest_drop and row.weak_gain > TIE]
    return max(harmless, key=lambda row: row.weak_f1).arm if harmless else "real"


def recommend(validation_rows: Sequence[SweepRow], config: SweepConfig, arm: str = "token") -> tuple[float, str]:
    """Choose how many synthetic images to use, as a multiple of a weak class's real ones.

    A ratio qualifies where its Holm-adjusted p-value (over the arm's ratios) is below 0.05, the other classes lose no
    more than `config.max_rest_drop`, and it beats repeating the real images as often (p below 0.05; both must hold,
    so this needs no adjustment): else the gain may be that of a larger class share, which any image gives, even a
    wrong one. The largest mean gain of weak F1 wins. Nothing qualifies: ratio 0.

    Source: Holm 1979 (Scand. J. Statist. 6).

    Args:
        validation_rows: rows on the validation split.
        config: `max_rest_drop`.
        arm: the synthetic arm to judge.

    Returns:
        The ratio, and why, in one or two sentences; a control or plain prompt that does as well is named there.

    Raises:
        ValueError: rows of another split than validation.
    """
    _check_validation(validation_rows)
    rows = [row for row in validation_rows if row.arm == arm]
    if not rows:
        return 0.0, f"Use no synthetic images: the sweep holds no trial of arm {arm}."
    adjusted = holm_by([row.weak_gain_p for row in rows], [arm] * len(rows))
    significant = [i for i, p in enumerate(adjusted) if p < SIGNIFICANCE and rows[i].weak_gain > 0]
    harmless = [i for i in significant if rows[i].rest_gain >= -config.max_rest_drop]
    has_repeated = any(row.arm == REPEATED_ARM for row in validation_rows)
    kept = [i for i in harmless if not has_repeated or rows[i].content_gain_p < SIGNIFICANCE]
    best = max(kept or harmless or significant or range(len(rows)), key=lambda i: rows[i].weak_gain)
    facts = _facts(rows[best], adjusted[best])
    rivals = _rivals(rows[best], validation_rows)
    ratio = rows[best].ratio
    if kept:
        return ratio, f"Use {ratio:g} synthetic images for each real one: {facts}.{rivals}"
    if harmless:
        content = rows[best].content_gain
        reason = f"ratio {ratio:g} gains, but not beyond what repeating the real images as often does ({content:+.3f})"
    elif significant:
        reason = f"ratio {ratio:g} gains, but the others lose more than {config.max_rest_drop:g}"
    else:
        reason = f"no ratio gains beyond chance, the best being {ratio:g}"
    return 0.0, f"Use no synthetic images: {reason} ({facts}).{rivals}"


def recommend_classes(
    validation_rows: Sequence[SweepClassRow],
    sweep_rows: Sequence[SweepRow],
    config: SweepConfig,
    arm: str = "token",
) -> list[ClassRatio]:
    """Choose a ratio for each weak class on its own: 0 unless its own F1 gains beyond chance.

    A ratio qualifies for a class where its p-value, adjusted over all weak classes and ratios of the arm (Holm), is
    below 0.05, the classes that are not weak lose no more than `config.max_rest_drop` at it, and it beats repeating the
    class's real images as often (p below 0.05, adjusted likewise: a gain by share alone may be real in every class);
    the largest mean gain wins. All weak classes had the same ratio in every trial, so a mixture of ratios was itself
    not tried.

    Args:
        validation_rows: rows of single classes on the validation split.
        sweep_rows: rows of the arms on the validation split.
        config: `max_rest_drop`.
        arm: the synthetic arm to judge.

    Raises:
        ValueError: rows of another split than validation.
    """
    _check_validation(validation_rows)
    _check_validation(sweep_rows)
    harmless = {r.ratio for r in sweep_rows if r.arm == arm and r.rest_gain >= -config.max_rest_drop}
    names = dict.fromkeys(row.class_name for row in validation_rows if row.arm == arm)
    return [_class_ratio([r for r in validation_rows if r.class_name == name], harmless, arm) for name in names]


def _class_ratio(rows: list[SweepClassRow], harmless: set[float], arm: str) -> ClassRatio:
    own = [row for row in rows if row.arm == arm]
    has_repeated = any(row.arm == REPEATED_ARM for row in rows)
    significant = [row for row in own if row.holm_p < SIGNIFICANCE and row.gain > 0]
    kept = [r for r in significant if r.ratio in harmless and (not has_repeated or r.content_holm_p < SIGNIFICANCE)]
    best = max(kept or significant or own, key=lambda row: row.gain)
    facts = (
        f"F1 {best.gain:+.3f} at ratio {best.ratio:g} (95 % interval {best.gain_low:+.3f} to {best.gain_high:+.3f}, "
        f"Holm-adjusted p {best.holm_p:.2g}, {best.num_images} validation images)"
    )
    if kept:
        return ClassRatio(class_name=best.class_name, ratio=best.ratio, reason=facts)
    problem = "no ratio gains beyond chance; the best"
    if significant:
        problem = "the other classes lose too much, or it is not shown to beat repeated real images"
    return ClassRatio(class_name=best.class_name, ratio=0.0, reason=f"{problem}: {facts}")


def warn(ratio: float, contrasts: Sequence[SweepContrast]) -> list[str]:
    """What takes from a positive recommendation: arms that the token's images are not shown to beat.

    Args:
        ratio: the recommended ratio.
        contrasts: the token's images at this ratio against other arms, on validation.

    Returns:
        One sentence for each contrast whose interval does not lie above 0; none where nothing is recommended.
    """
    found = []
    for contrast in contrasts if ratio > 0 else ():
        if contrast.arm == "token" and contrast.against_arm != "real" and contrast.low <= 0:
            kind = "free control" if contrast.against_arm in _FREE_CONTROLS else "arm"
            found.append(
                f"The {kind} {contrast.against_arm} may do as well: the token's images are "
                f"{contrast.difference:+.3f} against it (95 % interval {contrast.low:+.3f} to {contrast.high:+.3f})."
            )
    return found


def _facts(row: SweepRow, adjusted_p: float) -> str:
    return (
        f"on validation the weak classes' F1 changes by {row.weak_gain:+.3f} "
        f"(95 % interval {row.weak_gain_low:+.3f} to {row.weak_gain_high:+.3f}, "
        f"Holm-adjusted p {adjusted_p:.2g}) and the other classes' by {row.rest_gain:+.3f}"
    )


def _rivals(chosen: SweepRow, rows: Sequence[SweepRow]) -> str:
    """Name the best free control and plain prompt that gain and reach the chosen weak F1."""
    notes = []
    for arms, kind in (
        (_FREE_CONTROLS, "a free control"),
        (_PROMPT_ARMS, "a prompt without token"),
    ):
        reached = [
            row
            for row in rows
            if row.arm in arms and row.arm != chosen.arm and row.weak_gain > 0 and row.weak_f1 >= chosen.weak_f1 - TIE
        ]
        if reached:
            best = max(reached, key=lambda row: row.weak_f1)
            at = f" at ratio {best.ratio:g}" if best.ratio > 0 else ""
            notes.append(
                f"{kind} does as well: {best.arm}{at} (weak F1 {best.weak_f1:.3f} against {chosen.weak_f1:.3f})"
            )
    return " But " + "; ".join(notes) + "." if notes else ""
