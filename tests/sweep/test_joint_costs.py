"""What images cost that stand on something all classes share."""

import pytest
from small_sweep import EVERY_ARM
from test_recommendation import _made

from flowerti.artifacts.records import ImageSet, Timing
from flowerti.sweep.costs import Clocks, arm_costs


def test_an_arm_of_all_classes_pays_one_learning_of_what_they_share():
    sets = [
        ImageSet(class_name=name, source="shared_lora", learning=k, prompt="", num_images=10, files=[], key="")
        for name in ("azalea", "rose")
        for k in (0, 1)
    ]
    learnt = {
        "textual_inversion": Timing(stage="learn", seconds=1.0, gpu_seconds=7200.0),
        "shared_lora": Timing(stage="learn", seconds=1.0, gpu_seconds=3600.0),
    }
    sample = Timing(stage="sample", seconds=1.0, gpu_seconds=7200.0)
    clocks = Clocks(sample=sample, techniques=learnt, num_cpus=1.0, num_learnings=2)
    (cost,) = arm_costs([_made("shared_lora", 1.0, 0.2, 0.1)], EVERY_ARM, sets, clocks)
    # half the images, and half the time of the tokens and of the adapter: one learning of two, of both classes
    assert cost.hours == pytest.approx(1.0 + 1.0 + 0.5)
