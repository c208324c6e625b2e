"""The trials of each round of the sweep: every arm at all its levels, and the number of trainings.

The protocol and `flowerti plan` use the same lists. This module does not know how a trial is trained or evaluated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flowerti.config.experiment import ReplicationConfig, SweepConfig
from flowerti.data.dataset import Split
from flowerti.sweep.repetitions import Repetition
from flowerti.tables import Table
from flowerti.tables.arms import (
    ARMS,
    BASELINE,
    Arm,
    judged_arm,
    reference_of,
    repeated_on,
    replaced_on,
    shuffled_on,
    source_arms,
    stacked,
    stacked_name,
)
from flowerti.tables.sources import SOURCES


class Cell(NamedTuple):
    """An arm at one level."""

    arm: Arm
    ratio: float
    """0, a ratio, or a probability, depending on `Arm.level`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialPlan:
    """Identifies a trial."""

    arm: Arm
    ratio: float
    repetition: Repetition
    split: Split
    learning_rate_factor: float = 1.0
    """Multiple of classifier.learning_rate."""

    @property
    def name(self) -> str:
        """A readable name, safe as a file name."""
        return trial_name(self.split, self.arm.name, self.ratio, self.repetition.index, self.learning_rate_factor)


def trial_name(split: str, arm: str, ratio: float, repetition: int, learning_rate_factor: float) -> str:
    """What tells a trial from all others of a sweep; safe as a file name."""
    rate = "" if learning_rate_factor == 1 else f".rate-{learning_rate_factor:g}"
    return f"{split}.{arm}.{ratio:g}.{repetition}{rate}"


def plan_trials(
    cells: Sequence[Cell], repetitions: Sequence[Repetition], split: Split, factors: Mapping[str, float]
) -> list[TrialPlan]:
    """Every cell with all repetitions, at its arm's factor of the learning rate."""
    return [
        TrialPlan(arm=arm, ratio=ratio, repetition=repetition, split=split, learning_rate_factor=factors[arm.name])
        for arm, ratio in cells
        for repetition in repetitions
    ]


def arms_of(cells: Sequence[Cell]) -> Table[Arm]:
    """The arms of some cells by name, each once, in their order."""
    return Table("arm of this sweep", dict.fromkeys(cell.arm for cell in cells))


def reference_cell(arms: Table[Arm], cell: Cell) -> Cell | None:
    """What the images of a cell must beat: the same treatment without them; None as for `tables.arms.reference_of`."""
    found = reference_of(arms, cell.arm)
    return None if found is None else Cell(found, 0.0 if found.level == "none" else cell.ratio)


def first_round(config: SweepConfig, pools: Mapping[str, int]) -> list[Cell]:
    """All arms on validation that depend on no result: controls, and where images are added, the arms of all sources.

    Args:
        config: free and extra arms, ratios, probabilities and switches.
        pools: weak classes that have images, by source.

    Raises:
        ValueError: an arm is unknown, or two different ones have one name.
    """
    free = [ARMS[name] for name in config.free_arms]
    standing = [arm for arm in ARMS if arm.is_standing and (arm.donor == "own" or config.negative_control)]
    added = [*source_arms(), *standing] if "added" in config.mixing else []
    extra = [ARMS[name] for name in config.extra_arms]
    return _cells(dict.fromkeys([*free, *added, *extra]), config, pools)


def second_round(config: SweepConfig, pools: Mapping[str, int], first: Sequence[Cell], control: Arm) -> list[Cell]:
    """Images on top of the best control.

    At fixed mass: every source in place of the control's real images, and the negative control. Where images are added:
    those of the judged source, and what they must beat there, real images repeated on top of the control; nothing where
    no control is better than real. Plain repeated images are no match: a control such as Balanced Softmax gains by
    itself, and loses some of it to any further images of a class, whatever they show.
    """
    arms: list[Arm] = []
    if "fixed" in config.mixing:
        arms += [replaced_on(control, source) for source in SOURCES if source.is_arm]
        arms += [shuffled_on(control)] if config.negative_control else []
    if "added" in config.mixing and control.name != BASELINE.name:
        judged = judged_arm("added")
        arms += [stacked(control, SOURCES[judged.source]), repeated_on(control)] if _has_images(judged, pools) else []
    known = arms_of(first)  # those named in extra_arms
    return _cells([arm for arm in arms if arm.name not in known], config, pools)


def _cells(arms: Iterable[Arm], config: SweepConfig, pools: Mapping[str, int]) -> list[Cell]:
    return [Cell(arm, number) for arm in arms if _has_images(arm, pools) for number in _numbers(arm, config)]


def planned_arms(config: SweepConfig, pools: Mapping[str, int]) -> list[str]:
    """Names of all arms that a sweep may run; the control that others are on top of is not known yet.

    Args:
        config: as for `first_round`.
        pools: as for `first_round`.

    Raises:
        ValueError: as `first_round`.
    """
    first = first_round(config, pools)
    names = [cell.arm.name for cell in first]
    for control in (cell.arm for cell in first if cell.arm.is_control):
        arms = [cell.arm for cell in second_round(config, pools, first, control)]
        on_top = [arm.name.removeprefix(f"{control.name}+") for arm in arms if arm.control == control.name]
        names += [stacked_name("<best control>", name) for name in on_top]
    return list(dict.fromkeys(names))


def final_round(cells: Sequence[Cell], shown: Sequence[Cell]) -> list[Cell]:
    """The final trials on test: arms that mix images in as a shown one does at its level, all others at all theirs."""
    levels = {cell.arm.mass: cell.ratio for cell in shown}
    return [cell for cell in cells if cell.ratio == levels.get(cell.arm.mass, cell.ratio)]


def count_trials(config: SweepConfig, replication: ReplicationConfig, pools: Mapping[str, int]) -> int:
    """Maximum number of trainings over all rounds, reached if a control is better than the baseline.

    Args:
        config: arms, ratios and factors of the learning rate.
        replication: how often each is repeated.
        pools: weak classes that have images, by source.

    Raises:
        ValueError: an arm is unknown, or two different ones have one name.
    """
    first = first_round(config, pools)
    controls = [cell.arm for cell in first if cell.arm.is_control]
    cells = max(([*first, *second_round(config, pools, first, control)] for control in controls), key=len)
    # each way of mixing is shown at one level on test, whichever it is; at none where the judged source has no images
    has_images = _has_images(judged_arm(), pools)
    levels = {"fixed": config.replace_probabilities, "added": config.ratios}
    final = final_round(cells, [Cell(judged_arm(m), levels[m][0] if has_images else 0.0) for m in config.mixing])
    # one repetition at every factor chooses that of an arm, and is not trained again at it
    num_tuning = len(cells) * (len(config.learning_rate_factors) - 1)
    return num_tuning + replication.num_repetitions * (len(cells) + len(final))


def _has_images(arm: Arm, pools: Mapping[str, int]) -> bool:
    """Whether enough classes have images of the arm's source: a class cannot swap images with itself."""
    return not arm.pool or pools.get(arm.pool, 0) >= (2 if arm.donor == "next" else 1)


def _numbers(arm: Arm, config: SweepConfig) -> list[float]:
    if arm.level == "none":
        return [0.0]
    return sorted(config.ratios if arm.level == "ratio" else config.replace_probabilities)
