"""Costs of an arm's images from the stages' timings: gain per GPU-hour, or per CPU-hour if no GPU was used.

The sweep's own trials cost the same for every arm and are excluded. A timing covers the last execution of a stage, so
after an interrupted run the cost is that of the last part. This module does not know how time was measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flowerti.artifacts.records import ImageSet, SweepRow, Timing
from flowerti.artifacts.sweep import ArmCost
from flowerti.config.techniques import techniques_for
from flowerti.tables import Table
from flowerti.tables.arms import Arm

_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Clocks:
    """Timings of the stages that count towards an arm's cost; a missing one counts as zero."""

    sample: Timing | None = None
    techniques: Mapping[str, Timing] = field(default_factory=dict)
    """By the technique's name."""
    num_cpus: float
    """CPUs reserved by a stage; used if no stage reserved a GPU."""
    num_learnings: int = 1
    """Times that each class was learnt; who uses the images needs one of them."""

    @property
    def unit(self) -> str:
        """The unit of the costs."""
        timings = [*self.techniques.values(), *([self.sample] if self.sample else [])]
        return "GPU-hour" if any(timing.gpu_seconds > 0 for timing in timings) else "CPU-hour"

    def hours(self, timing: Timing | None) -> float:
        """Convert a timing to hours in `unit`."""
        if timing is None:
            return 0.0
        seconds = timing.gpu_seconds if self.unit == "GPU-hour" else timing.seconds * self.num_cpus
        return seconds / _SECONDS_PER_HOUR


def arm_costs(rows: Sequence[SweepRow], arms: Table[Arm], sets: Sequence[ImageSet], clocks: Clocks) -> list[ArmCost]:
    """Cost and gain per hour of each row.

    The cost of a source is one training of its techniques plus its share of the sampling time, by number of images of
    one learning. It does not depend on the ratio, because images are generated once for all ratios, nor on how often
    learning is repeated for the sake of the evidence.

    Args:
        rows: rows of the sweep.
        arms: definitions of the rows' arms.
        sets: the generated images.
        clocks: timings of the stages.

    Raises:
        ValueError: an arm, a source or a technique is unknown.
    """
    return [_cost(row, _hours(arms[row.arm].source, sets, clocks), clocks.unit) for row in rows]


def _hours(source: str, sets: Sequence[ImageSet], clocks: Clocks) -> float:
    if not source:
        return 0.0
    num_drawn = sum(s.num_images for s in sets)
    num_own = sum(s.num_images for s in sets if s.source == source and s.learning == 0)
    spent = clocks.hours(clocks.sample) * num_own / num_drawn if num_drawn else 0.0
    for technique in techniques_for((source,)):
        spent += clocks.hours(clocks.techniques.get(technique.name)) / clocks.num_learnings
    return spent


def _cost(row: SweepRow, hours: float, unit: str) -> ArmCost:
    return ArmCost(
        split=row.split,
        arm=row.arm,
        ratio=row.ratio,
        hours=hours,
        unit=unit,
        weak_gain=row.weak_gain,
        gain_per_hour=row.weak_gain / hours if hours > 0 else None,
    )
