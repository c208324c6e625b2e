"""Costs by hand."""

import pytest
from small_sweep import EVERY_ARM
from test_recommendation import _made

from flowerti.artifacts.records import ImageSet, Timing
from flowerti.sweep import costs
from flowerti.sweep.costs import Clocks
from flowerti.tables import Table
from flowerti.tables.arms import BASELINE, Arm, stacked
from flowerti.tables.sources import SOURCES

ARMS = Table(
    "arm of this sweep",
    [
        *EVERY_ARM,
        stacked(EVERY_ARM["balanced"], SOURCES["token"]),
        Arm(name="lora_balanced", label="", source="lora", level="ratio", control="balanced", is_balanced=True),
    ],
)


def arm_costs(rows, sets, clocks):
    return costs.arm_costs(rows, ARMS, sets, clocks)


def pool(source: str, num: int) -> ImageSet:
    return ImageSet(class_name="rose", source=source, prompt="", num_images=num, files=[], key="")


SETS = [pool("token", 20), pool("token", 10), pool("raw", 30)]
ROWS = [
    _made("real", 0.0, 0.0, 1.0),
    _made("balanced", 0.0, 0.1, 0.1),
    _made("raw", 1.0, 0.2, 0.1),
    _made("token", 1.0, 0.3, 0.1),
    _made("balanced+token", 2.0, -0.3, 0.1),
    _made("shuffled_token", 2.0, -0.1, 0.1),
]


def timing(stage: str, seconds: float, gpu_seconds: float) -> Timing:
    return Timing(stage=stage, seconds=seconds, gpu_seconds=gpu_seconds)


def test_gpu_hours_go_to_the_arms_that_needed_the_work():
    learnt = {"textual_inversion": timing("learn", 10.0, 7200.0)}
    clocks = Clocks(sample=timing("sample", 10.0, 3600.0), techniques=learnt, num_cpus=4.0)
    found = {cost.arm: cost for cost in arm_costs(ROWS, SETS, clocks)}
    assert {cost.unit for cost in found.values()} == {"GPU-hour"}
    assert (found["real"].hours, found["real"].gain_per_hour) == (0.0, None)
    assert found["balanced"].gain_per_hour is None
    assert found["raw"].hours == pytest.approx(0.5)
    assert found["raw"].gain_per_hour == pytest.approx(0.4)
    for arm in ("token", "balanced+token", "shuffled_token"):
        assert found[arm].hours == pytest.approx(2.5)
    assert found["balanced+token"].gain_per_hour == pytest.approx(-0.12)


def test_an_adapter_s_images_cost_token_and_adapter():
    learnt = {"textual_inversion": timing("learn", 1.0, 3600.0), "lora": timing("learn", 1.0, 7200.0)}
    clocks = Clocks(sample=timing("sample", 1.0, 3600.0), techniques=learnt, num_cpus=2.0)
    rows = [*ROWS, _made("lora", 1.0, 0.2, 0.1), _made("lora_balanced", 1.0, 0.2, 0.1)]
    found = {cost.arm: cost for cost in arm_costs(rows, [*SETS, pool("lora", 60)], clocks)}
    for arm in ("lora", "lora_balanced"):
        assert found[arm].hours == pytest.approx(1 + 2 + 60 / 120)
    assert found["token"].hours == pytest.approx(1 + 30 / 120)


def test_without_a_gpu_cpus_count():
    learnt = {"textual_inversion": timing("learn", 1800.0, 0.0)}
    clocks = Clocks(sample=timing("sample", 3600.0, 0.0), techniques=learnt, num_cpus=2.0)
    found = {cost.arm: cost for cost in arm_costs(ROWS, SETS, clocks)}
    assert found["token"].unit == "CPU-hour"
    assert found["token"].hours == pytest.approx(1 + 1)


def test_without_clocks_nothing_has_a_price():
    found = arm_costs(ROWS, SETS, Clocks(num_cpus=2.0))
    assert len(found) == len(ROWS)
    assert all(cost.hours == 0 and cost.gain_per_hour is None for cost in found)


def test_an_arm_that_was_not_run_has_no_cost():
    with pytest.raises(ValueError, match="unknown arm of this sweep 'balanced'"):
        costs.arm_costs(ROWS, Table("arm of this sweep", [BASELINE]), SETS, Clocks(num_cpus=1.0))
