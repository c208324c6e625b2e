"""Step times from a finished run, and the command that plans with them."""

from dataclasses import replace
from pathlib import Path

import pytest

from flowerti.artifacts.records import Learned, SelectedClass, Selection, Timing
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cli import main
from flowerti.config.experiment import ReplicationConfig, to_json
from flowerti.config.presets import demo
from flowerti.measured_times import measured_times
from flowerti.plan import num_trials

TOKENS = "textual_inversion"
ONCE = replace(demo(), replication=ReplicationConfig(num_learnings=1, num_seeds=5))
NUM_TRIALS = num_trials(ONCE, 3)
NUM_IMAGES = 32
"""Of each class and source, as the demo draws them."""


def finished_run(folder: Path) -> RunDirectory:
    run, experiment = RunDirectory(str(folder)), ONCE
    run.write_bytes("config.json", to_json(experiment).encode())
    chosen = [SelectedClass(class_name=n, num_train=8, f1_validation=0.1, reason="weak") for n in "abc"]
    run.save("selection.json", Selection(selected=chosen, by_evidence=chosen), "k")
    for name, seconds in (("a", 30.0), ("b", 60.0)):
        record = Learned(class_name=name, technique=TOKENS, num_steps=300, seconds=seconds)
        run.save(f"concepts/{name}/{TOKENS}.json", record, "k")
    run.save(f"concepts/c/{TOKENS}.json", Learned(class_name="c", technique=TOKENS, error="broken"), "k")
    for stage, seconds in (("sample", 120.0), ("score", 12.0), ("sweep", 90.0)):
        run.save(f"timings/{stage}.json", Timing(stage=stage, seconds=seconds, gpu_seconds=0.0), stage)
    return run


def test_times_are_taken_from_a_finished_run(tmp_path: Path):
    times = measured_times(finished_run(tmp_path), actor_start_s=12.0)
    assert times.learning_step == {TOKENS: pytest.approx(90 / 600)}
    # two workers, two classes that were learnt, three sources, thirty-two images
    assert times.drawn_image == pytest.approx(2 * 120 / (2 * 3 * NUM_IMAGES))
    assert times.trial == pytest.approx(2 * 90 / NUM_TRIALS)
    assert times.actor_start == 12.0


def test_times_of_a_run_with_learnings_are_over_all_of_them(tmp_path: Path):
    run = finished_run(tmp_path)
    run.write_bytes("config.json", to_json(replace(demo(), replication=ReplicationConfig(num_learnings=2))).encode())
    second = Learned(class_name="a", technique=TOKENS, learning=1, num_steps=100, seconds=70.0)
    run.save(f"concepts/a/learning-1/{TOKENS}.json", second, "k")
    times = measured_times(run, actor_start_s=12.0)
    assert times.learning_step == {TOKENS: pytest.approx(160 / 700)}
    # two classes, two sources without learning and one with two, thirty-two images; the first learnings are scored
    assert times.drawn_image == pytest.approx(2 * 120 / (2 * (2 + 2) * NUM_IMAGES))
    assert times.scored_image == pytest.approx(2 * 12 / (2 * 3 * NUM_IMAGES))


def test_what_all_classes_share_is_counted_once(tmp_path: Path):
    run = finished_run(tmp_path)
    sampling = replace(ONCE.sampling, sources=("token", "shared_lora"))
    run.write_bytes("config.json", to_json(replace(ONCE, sampling=sampling)).encode())
    shared = Learned(class_name="@all", technique="shared_lora", classes=["a", "b"], num_steps=50, seconds=20.0)
    run.save("concepts/@all/shared_lora.json", shared, "k")
    times = measured_times(run, actor_start_s=12.0)
    assert times.learning_step == {TOKENS: pytest.approx(90 / 600), "shared_lora": pytest.approx(20 / 50)}
    assert times.drawn_image == pytest.approx(2 * 120 / (2 * 2 * NUM_IMAGES)), "of two classes"


@pytest.mark.parametrize("lost", ["config.json", "timings/sweep.json", "concepts"])
def test_an_unfinished_run_gives_no_times(lost: str, tmp_path: Path):
    run = finished_run(tmp_path)
    for name in [lost] if run.exists(lost) else run.names(lost):
        run.delete(name)
    with pytest.raises(ValueError, match="--from-run"):
        measured_times(run, 1.0)


def test_the_command_prints_a_line_a_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    finished_run(tmp_path)
    asked = ["plan", "--preset", "demo", "--num-classes", "10", "--num-gpus", "4", "--price-per-gpu-hour", "1"]
    assert main(asked) == 2
    assert "--seconds-per-textual-inversion-step" in capsys.readouterr().err
    assert main([*asked, "--from-run", str(tmp_path), "--seconds-per-trial", "7"]) == 0
    *rows, detects = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert detects[0] == "Detects:"
    stages = ["classify", "select", "ceiling", f"personalize.{TOKENS}", "sample", "score", "sweep", "confirm", "report"]
    assert [row[0] for row in rows] == ["stage", *stages, "all"]
    # a time that is given comes before the measured one: the sweep's hours, one worker start included
    assert float(rows[7][2]) == pytest.approx((NUM_TRIALS * 7 + 4 * 15) / 3600, rel=0.2)


def test_the_plan_takes_the_settings_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    finished_run(tmp_path)
    asked = ["plan", "--preset", "demo", "--num-classes", "3", "--num-gpus", "1", "--from-run", str(tmp_path)]
    asked += ["--sampling.sources", "token", "lora", "--seconds-per-lora-step", "0.5"]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "personalize.lora" in out
    assert "token, lora" in out
