"""The trials of each round of the sweep: every arm at all its levels, and the number of trainings.

The protocol and `flowerti plan` use the same lists. This module does not know how a trial is trained or evaluated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flowerti.config.experiment import ReplicationConfig, SweepConfig
from flowerti.data.dataset import Split
from flowerti.sweep.repetitions import Repetition
from flowerti.tables import Table
from flowerti.tables.arms import ARMS, BASELINE, Arm, judged_arm, repeated_on, source_arms, stacked
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
        rate = "" if self.learning_rate_factor == 1 else f".rate-{self.learning_rate_factor:g}"
        return f"{self.split}.{self.arm.name}.{self.ratio:g}.{self.repetition.index}{rate}"


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


def first_round(config: SweepConfig, pools: Mapping[str, int]) -> list[Cell]:
    """All arms on validation that depend on no result.

    Args:
        config: free and extra arms, ratios, probabilities and switches.
        pools: weak classes that have images, by source.

    Raises:
        ValueError: an arm is unknown, or two different ones have one name.
    """
    free = [ARMS[name] for name in config.free_arms]
    standing = [arm for arm in ARMS if arm.is_standing and (arm.donor == "own" or config.negative_control)]
    extra = [ARMS[name] for name in config.extra_arms]
    arms = dict.fromkeys([*free, *source_arms(), *standing, *extra])
    return [Cell(arm, number) for arm in arms if _has_images(arm, pools) for number in _numbers(arm, config)]


def second_round(config: SweepConfig, pools: Mapping[str, int], first: Sequence[Cell], best_control: Arm) -> list[Cell]:
    """The judged source on top of the best control, and what it must beat there: real images repeated on top of it.

    Nothing where no control is better than real. Plain repeated images are no match: a control such as Balanced Softmax
    gains by itself, and loses some of it to any further images of a class, whatever they show.
    """
    judged = judged_arm()
    if not config.on_best_control or best_control.name == BASELINE.name or not _has_images(judged, pools):
        return []
    arms = [stacked(best_control, SOURCES[judged.source]), repeated_on(best_control)]
    new = [arm for arm in arms if arm.name not in arms_of(first)]  # others are named in extra_arms
    return [Cell(arm, ratio) for arm in new for ratio in _numbers(arm, config)]


def final_round(cells: Sequence[Cell], ratio: float) -> list[Cell]:
    """The final trials on test: arms with a ratio at the given one, all others at all their levels."""
    return [cell for cell in cells if cell.arm.level != "ratio" or cell.ratio == ratio]


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
    second = max((second_round(config, pools, first, control) for control in controls), key=len, default=[])
    cells = [*first, *second]
    # one ratio is shown on test, whichever it is; none where the judged source has no images
    ratio = config.ratios[0] if _has_images(judged_arm(), pools) else 0.0
    # one repetition at every factor chooses that of an arm, and is not trained again at it
    num_tuning = len(cells) * (len(config.learning_rate_factors) - 1)
    return num_tuning + replication.num_repetitions * (len(cells) + len(final_round(cells, ratio)))


def _has_images(arm: Arm, pools: Mapping[str, int]) -> bool:
    """Whether enough classes have images of the arm's source: a class cannot swap images with itself."""
    return not arm.pool or pools.get(arm.pool, 0) >= (2 if arm.donor == "next" else 1)


def _numbers(arm: Arm, config: SweepConfig) -> list[float]:
    if arm.level == "none":
        return [0.0]
    return sorted(config.ratios if arm.level == "ratio" else config.replace_probabilities)
