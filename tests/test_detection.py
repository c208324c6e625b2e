"""What the plan says that a sweep could detect: with and without images, and with the spread of a finished run."""

from pathlib import Path

import pytest

from flowerti.artifacts.records import SweepTable
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.sweep import VarianceComponent
from flowerti.config.experiment import ReplicationConfig
from flowerti.detection import PlannedSweep, spread_of, told_detection
from flowerti.sweep.power import FEW, MANY, Repeated, detectable_gain, images_needed, units_needed
from flowerti.sweep.variance import replication_of

SPREAD = VarianceComponent(level="learning, pool of images", num_units=4, freedom=3, std=0.08)


def planned(num_images: int) -> PlannedSweep:
    return PlannedSweep(
        num_classes=3, num_images=num_images, margin=0.1, replication=ReplicationConfig(num_learnings=4)
    )


def test_without_images_it_tells_how_many_are_needed():
    few, many = (images_needed(0.1, 3, share) for share in (FEW, MANY))
    assert f"a gain of 0.1 needs {few} to {many} validation images" in told_detection(planned(0), None)


def test_without_a_run_the_spread_between_tokens_is_missing():
    told = told_detection(planned(100), None)
    gains = [f"{detectable_gain(3, 100, share):.2f}" for share in (FEW, MANY)]
    assert f"gains of {gains[0]} to {gains[1]} are found" in told
    assert told.endswith("How much other tokens change a gain is not in it: give --from-run.")


def test_the_spread_of_a_run_tells_how_many_learnings_are_needed():
    told = told_detection(planned(100), SPREAD)
    gains = [f"{detectable_gain(3, 100, share, Repeated(0.08, 4)):.2f}" for share in (FEW, MANY)]
    assert f"gains of {gains[0]} to {gains[1]} are found" in told
    assert "Between repetitions of the learning the gain differs by 0.080 in that run" in told
    assert told.endswith(f"a gain of 0.1 needs {units_needed(0.1, 3, 100, FEW, 0.08)} of them.")
    assert told_detection(planned(5), SPREAD).endswith("no number of them finds a gain of 0.1 with so few images.")


@pytest.mark.parametrize("has_gains", [False, True])
def test_the_spread_is_that_of_the_outermost_step(has_gains: bool, tmp_path: Path):
    import numpy as np

    run = RunDirectory(str(tmp_path))
    assert spread_of(run) is None
    config = ReplicationConfig(num_learnings=2, num_seeds=2)
    found = replication_of(config, ("test", np.array([0.1, 0.2, 0.4, 0.5])) if has_gains else None)
    table = SweepTable(rows=[], recommended_ratio=0.0, recommendation="", failures=[], replication=found)
    run.save("sweep/table.json", table, "k")
    spread = spread_of(run)
    assert (spread is not None) == has_gains
    if spread is not None:
        # mean squares 0.09 and 0.005 of learnings and seeds: (0.09 - 0.005) / 2
        assert (spread.level, spread.std) == ("learning, pool of images", pytest.approx(0.0425**0.5))
