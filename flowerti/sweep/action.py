"""The best action that validation supports: generated images, images of a plain name, a free control, or none of them.

What costs more must beat what costs less beyond chance. This module works on rows and contrasts: it does not know how
they were computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowerti.artifacts.records import SweepRow
from flowerti.artifacts.sweep import ActionName, SweepContrast
from flowerti.config.experiment import SweepConfig
from flowerti.sweep.recommendation import SIGNIFICANCE, recommend
from flowerti.sweep.rounds import Cell
from flowerti.sweep.significance import holm_by
from flowerti.tables import Table
from flowerti.tables.arms import BASELINE, Arm

Compare = Callable[[Cell, Cell], SweepContrast]
"""Returns the contrast of two cells on validation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """An action, its arm and level, and the reason in one sentence."""

    kind: ActionName
    cell: Cell
    reason: str


def choose_action(
    rows: Sequence[SweepRow], arms: Table[Arm], config: SweepConfig, shown: Cell, compare: Compare
) -> Choice:
    """Choose what to do.

    Candidates are the free arms with a significant gain over real images (Holm over all of them) that do not harm the
    other classes; the arms of plain prompts and the judged arm where the rule of `recommend` chooses the level that is
    shown. A name is taken before a free control, and generated images before either, only where they are better beyond
    chance. Arms that mix images in as the judged one does are looked at at the level that is shown on test.

    Args:
        rows: rows on the validation split.
        arms: what the rows' arms are: all that were planned.
        config: `max_rest_drop` and `equivalence_margin`.
        shown: the judged arm at the level that is shown on test.
        compare: contrasts on the validation split.

    Raises:
        ValueError: rows of another split than validation, or an unknown arm.
    """
    levels = {None: 0.0, shown.arm.mass: shown.ratio}
    beside = [row for row in rows if levels.get(arms[row.arm].mass) == row.ratio]
    control, name = _best_control(beside, arms, config), _best_name(rows, arms, config, shown)
    generated = Cell(shown.arm, shown.ratio) if recommend(rows, arms, config, shown.arm)[0] == shown.ratio > 0 else None
    chosen: tuple[ActionName, Cell] | None = None
    ladder: list[tuple[ActionName, Cell | None]] = [
        ("use_control", control),
        ("use_name", name),
        ("use_generated", generated),
    ]
    for kind, cell in ladder:
        if cell is not None and (chosen is None or compare(cell, chosen[1]).low > 0):
            chosen = (kind, cell)
    if chosen is not None:
        return Choice(kind=chosen[0], cell=chosen[1], reason=_reason(compare(chosen[1], Cell(BASELINE, 0.0))))
    return _no_action(beside, config, shown, compare)


def _best_control(rows: Sequence[SweepRow], arms: Table[Arm], config: SweepConfig) -> Cell | None:
    """The free arm with the highest weak F1 among those that gain beyond chance without harm."""
    free = [row for row in rows if arms[row.arm].is_free and row.arm != BASELINE.name]
    adjusted = holm_by([row.weak_gain_p for row in free], [""] * len(free))
    kept = [
        row
        for row, p in zip(free, adjusted, strict=True)
        if p < SIGNIFICANCE and row.weak_gain > 0 and row.rest_gain_low >= -config.max_rest_drop
    ]
    best = max(kept, key=lambda row: row.weak_f1, default=None)
    return Cell(arms[best.arm], best.ratio) if best else None


def _best_name(rows: Sequence[SweepRow], arms: Table[Arm], config: SweepConfig, shown: Cell) -> Cell | None:
    """The plain prompt with the highest weak F1 among those that the rule recommends at the level that is shown."""
    names = [row for row in rows if arms[row.arm].is_plain_prompt and arms[row.arm].mass == shown.arm.mass]
    names = [row for row in names if row.ratio == shown.ratio]
    kept = [row for row in names if recommend(rows, arms, config, arms[row.arm])[0] == shown.ratio > 0]
    best = max(kept, key=lambda row: row.weak_f1, default=None)
    return Cell(arms[best.arm], best.ratio) if best else None


def _no_action(rows: Sequence[SweepRow], config: SweepConfig, shown: Cell, compare: Compare) -> Choice:
    """Nothing helped if no arm can gain as much as the margin; otherwise nobody can tell."""
    contrast, margin = compare(shown, Cell(BASELINE, 0.0)), config.equivalence_margin
    open_arms = [row for row in rows if row.arm != BASELINE.name and row.weak_gain_high >= margin]
    if not open_arms:
        reason = f"no arm gains as much as {margin:g} (95 % intervals on validation)"
        return Choice(kind="nothing_helped", cell=shown, reason=reason)
    widest = max(open_arms, key=lambda row: row.weak_gain_high)
    reason = (
        f"nothing gains beyond chance, but {widest.arm} may still gain up to {widest.weak_gain_high:+.3f}: "
        f"this run finds only effects of {contrast.detectable_effect:.3f} and more"
    )
    return Choice(kind="undecided", cell=shown, reason=reason)


def _reason(contrast: SweepContrast) -> str:
    return (
        f"on validation it changes the weak classes' F1 by {contrast.difference:+.3f} "
        f"(95 % interval {contrast.low:+.3f} to {contrast.high:+.3f}, p {contrast.p:.2g})"
    )
