"""What differs between two runs, against the summaries that it is read from and counts by hand."""

import copy
import dataclasses
from pathlib import Path

import pytest
from kept_runs import ADDED, DEMO, SUMMARY, changed_summary, write_run

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import read_config
from flowerti.reading.comparison import Difference, compare_runs
from flowerti.reading.run import Run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Run, Run]:
    sweep = dataclasses.replace(read_config(RunDirectory(str(DEMO))).sweep, ratios=(1.0, 3.0))
    other = write_run(tmp_path / "b", changed_summary(), seed=7, sweep=sweep)
    return Run(write_run(tmp_path / "a", SUMMARY)), Run(other)


def test_a_run_differs_in_nothing_from_itself(runs: tuple[Run, Run]):
    found = compare_runs(runs[0], runs[0])
    assert (found.data, found.settings, found.same_data, found.same_weak_classes) == ([], [], True, True)
    assert [pair for pair in found.arms if pair.first != pair.second or pair.first is None] == []
    assert [one for one in found.costs if one.first_seconds != one.second_seconds] == []


def test_settings_are_named_as_options_name_them(runs: tuple[Run, Run]):
    before = list(runs[0].settings.sweep.ratios)
    assert compare_runs(*runs).settings == [
        Difference(name="seed", first=runs[0].settings.seed, second=7),
        Difference(name="sweep.ratios", first=before, second=[1.0, 3.0]),
    ]


def test_techniques_stand_without_their_table(runs: tuple[Run, Run], tmp_path: Path):
    techniques = runs[0].settings.techniques
    lora = dataclasses.replace(techniques["lora"], num_steps=77)
    other = Run(write_run(tmp_path / "c", SUMMARY, techniques={**techniques, "lora": lora}))
    expected = Difference(name="lora.num_steps", first=techniques["lora"].num_steps, second=77)
    assert compare_runs(runs[0], other).settings == [expected]


def test_every_arm_of_either_run_is_there_with_its_numbers_on_test(runs: tuple[Run, Run]):
    found = {pair.arm: pair for pair in compare_runs(*runs).arms}
    assert len(found) == len([row for row in SUMMARY["sweep"] if row["split"] == "test"])
    assert found[ADDED].second is None
    (row,) = [row for row in SUMMARY["sweep"] if (row["split"], row["arm"]) == ("test", ADDED)]
    first = found[ADDED].first
    assert first is not None and found[ADDED].ratio == row["ratio"]
    assert (first.weak_f1, first.low, first.high) == (row["weak_f1"], row["weak_f1_low"], row["weak_f1_high"])
    assert (first.gain, first.gain_low, first.num_repetitions) == (row["weak_gain"], row["weak_gain_low"], 4)
    real = found["real"].second
    assert real is not None and (real.weak_f1, real.low, real.high) == (0.5, 0.4, 0.625)


def test_costs_stand_side_by_side_and_are_summed(runs: tuple[Run, Run]):
    found = {one.stage: one for one in compare_runs(*runs).costs}
    times = {row["stage"]: row["seconds"] for row in SUMMARY["timings"]}
    assert found["classify"].first_seconds == times["classify"] and found["classify"].second_seconds is None
    assert (found["personalize.lora"].first_seconds, found["personalize.lora"].second_gpu_seconds) == (None, 50.0)
    assert found["all"].first_seconds == pytest.approx(sum(times.values()))
    assert found["all"].second_seconds == pytest.approx(sum(times.values()) - times["classify"] + 100)


def test_other_weak_classes_are_told(runs: tuple[Run, Run], tmp_path: Path):
    other = copy.deepcopy(SUMMARY)
    other["selected"] = other["selected"][:-1]
    found = compare_runs(runs[0], Run(write_run(tmp_path / "c", other)))
    assert (found.same_data, found.same_weak_classes) == (True, False)
    assert [one.name for one in found.data] == ["weak classes"]


def test_runs_of_different_data_are_refused_unless_asked(runs: tuple[Run, Run], tmp_path: Path):
    other = Run(write_run(tmp_path / "c", SUMMARY | {"data_fingerprint": "a" * 64}))
    with pytest.raises(ValueError, match=r"are of different data .* or add --any-data$"):
        compare_runs(runs[0], other)
    found = compare_runs(runs[0], other, any_data=True)
    assert (found.same_data, [one.name for one in found.data]) == (False, ["fingerprint"])


def test_a_run_that_is_not_finished_is_refused(runs: tuple[Run, Run], tmp_path: Path):
    (tmp_path / "b/summary.json").unlink()
    with pytest.raises(ValueError, match=r"b/summary\.json is missing: the run is not finished"):
        compare_runs(*runs)
