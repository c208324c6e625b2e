"""What a planned sweep could detect, in words: from numbers of images and repetitions, and a finished run's spread.

This module needs neither torch nor Ray, and does not know what a run costs.
"""

from dataclasses import dataclass

from flowerti.artifacts import layout
from flowerti.artifacts.records import SweepTable
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.sweep import VarianceComponent
from flowerti.config.experiment import ReplicationConfig
from flowerti.sweep.power import FEW, KNOWN, MANY, Repeated, detectable_gain, images_needed, units_needed
from flowerti.sweep.repetitions import num_units


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedSweep:
    """What the detectable gain depends on."""

    num_classes: int
    """Weak classes."""
    num_images: int
    """Validation images of each; 0 where that is not known."""
    margin: float
    """The gain that one wants to find."""
    replication: ReplicationConfig


def spread_of(run: RunDirectory) -> VarianceComponent | None:
    """How much the gain differed in a run between the outermost step that it repeated; None where it tells nothing."""
    table = run.load(layout.SWEEP_TABLE, SweepTable)
    return table.replication.components[0] if table and table.replication and table.replication.components else None


def told_detection(planned: PlannedSweep, spread: VarianceComponent | None) -> str:
    """What the sweep could detect, in one line.

    Raises:
        ValueError: a number is out of range, or the gain needs more than a million images.
    """
    needed = [images_needed(planned.margin, planned.num_classes, share) for share in (FEW, MANY)]
    enough = f"a gain of {planned.margin:g} needs {needed[0]} to {needed[1]} validation images of each weak class"
    if not planned.num_images:
        return f"Detects: {enough}; give --num-images-per-class to learn what yours can show."
    repeated = Repeated(spread.std, max(2, num_units(planned.replication))) if spread else KNOWN
    gains = [detectable_gain(planned.num_classes, planned.num_images, share, repeated) for share in (FEW, MANY)]
    found = f"gains of {gains[0]:.2f} to {gains[1]:.2f} are found four times in five"
    told = f"Detects: with {planned.num_images} validation images of each weak class {found}; {enough}."
    if spread is None:
        return f"{told} How much other tokens change a gain is not in it: give --from-run."
    return f"{told} {_told_units(planned, spread)}"


def _told_units(planned: PlannedSweep, spread: VarianceComponent) -> str:
    step = spread.level.split(",")[0]
    seen = f"Between repetitions of the {step} the gain differs by {spread.std:.3f} in that run (standard deviation)"
    needed = units_needed(planned.margin, planned.num_classes, planned.num_images, FEW, spread.std)
    if needed is None:
        return f"{seen}; no number of them finds a gain of {planned.margin:g} with so few images."
    return f"{seen}; a gain of {planned.margin:g} needs {needed} of them."
