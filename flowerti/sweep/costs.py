"""What an arm's images cost, from the stages' clocks: gain per GPU-hour, or per CPU-hour where no GPU was held.

The sweep's own trials cost every arm the same and are left out. A stage's clock tells of its last work, so after a run
that was interrupted the cost is that of the last part. This module does not know how time was measured.
"""

from collections.abc import Mapping, Sequence

from flowerti.artifacts.records import ImageSet, SweepRow, Timing
from flowerti.artifacts.sweep import ArmCost
from flowerti.sweep.mixing import source_of

_SECONDS_PER_HOUR = 3600.0


def arm_costs(
    rows: Sequence[SweepRow], sets: Sequence[ImageSet], timings: Mapping[str, Timing], num_cpus: float
) -> list[ArmCost]:
    """Cost and gain per hour of each row.

    A token's images cost the inversion and their share of the sampling, by number of images, whatever the ratio:
    they were drawn once for all ratios. Those of an adapter cost its learning besides, on top of the token that it
    stands on. Other sources cost their share of the sampling.

    Args:
        rows: rows of the sweep.
        sets: the synthetic images that were drawn.
        timings: of the stages "invert", "adapt" and "sample"; one that is missing counts nothing.
        num_cpus: CPUs that a stage held; they count where it held no GPU.
    """
    on_gpu = any(timing.gpu_seconds > 0 for timing in timings.values())
    hours = {
        name: (timing.gpu_seconds if on_gpu else timing.seconds * num_cpus) / _SECONDS_PER_HOUR
        for name, timing in timings.items()
    }
    return [_cost(row, sets, hours, "GPU-hour" if on_gpu else "CPU-hour") for row in rows]


def _cost(row: SweepRow, sets: Sequence[ImageSet], hours: Mapping[str, float], unit: str) -> ArmCost:
    source, num_drawn = source_of(row.arm), sum(s.num_images for s in sets)
    num_own = sum(s.num_images for s in sets if s.source == source)
    spent = hours.get("sample", 0.0) * num_own / num_drawn if num_drawn else 0.0
    spent += hours.get("invert", 0.0) if source in ("token", "lora") else 0.0
    spent += hours.get("adapt", 0.0) if source == "lora" else 0.0
    return ArmCost(
        split=row.split,
        arm=row.arm,
        ratio=row.ratio,
        hours=spent,
        unit=unit,
        weak_gain=row.weak_gain,
        gain_per_hour=row.weak_gain / spent if spent > 0 else None,
    )
