"""What an arm's images cost, from the stages' clocks: gain per GPU-hour, or per CPU-hour where no GPU was held.

The sweep's own trials cost every arm the same and are left out. A stage's clock tells of its last work, so after a run
that was interrupted the cost is that of the last part. This module does not know how time was measured.
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
    """What the stages took that arms pay for; one that is missing costs nothing."""

    sample: Timing | None = None
    techniques: Mapping[str, Timing] = field(default_factory=dict)
    """By the technique's name."""
    num_cpus: float
    """CPUs that a stage held; they count where none held a GPU."""

    @property
    def unit(self) -> str:
        """What is counted."""
        timings = [*self.techniques.values(), *([self.sample] if self.sample else [])]
        return "GPU-hour" if any(timing.gpu_seconds > 0 for timing in timings) else "CPU-hour"

    def hours(self, timing: Timing | None) -> float:
        """What a stage took, in `unit`."""
        if timing is None:
            return 0.0
        seconds = timing.gpu_seconds if self.unit == "GPU-hour" else timing.seconds * self.num_cpus
        return seconds / _SECONDS_PER_HOUR


def arm_costs(rows: Sequence[SweepRow], arms: Table[Arm], sets: Sequence[ImageSet], clocks: Clocks) -> list[ArmCost]:
    """Cost and gain per hour of each row.

    Images cost all that had to be learnt for their source, and their share of the sampling, by number of images,
    whatever the ratio: they were drawn once for all ratios.

    Args:
        rows: rows of the sweep.
        arms: what the rows' arms are.
        sets: the synthetic images that were drawn.
        clocks: what the stages took.

    Raises:
        ValueError: an arm, a source or a technique is unknown.
    """
    return [_cost(row, _hours(arms[row.arm].source, sets, clocks), clocks.unit) for row in rows]


def _hours(source: str, sets: Sequence[ImageSet], clocks: Clocks) -> float:
    if not source:
        return 0.0
    num_drawn = sum(s.num_images for s in sets)
    num_own = sum(s.num_images for s in sets if s.source == source)
    spent = clocks.hours(clocks.sample) * num_own / num_drawn if num_drawn else 0.0
    for technique in techniques_for((source,)):
        spent += clocks.hours(clocks.techniques.get(technique.name))
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
