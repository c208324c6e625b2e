"""A stage's time is kept where it did work, and its events carry its name."""

from dataclasses import replace
from pathlib import Path

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.cluster import ClusterConfig
from flowerti.config.presets import demo
from flowerti.progress import Event
from flowerti.stage_clock import StageClock, read_timing


def clock_of(folder: Path, heard: list[Event] | None = None, **cluster: float) -> StageClock:
    listeners = [] if heard is None else [heard.append]
    experiment = replace(demo(), cluster=ClusterConfig(**cluster))  # pyright: ignore
    return StageClock(RunDirectory(str(folder)), experiment, listeners)


def test_only_a_stage_that_did_work_is_timed(tmp_path: Path):
    clock = clock_of(tmp_path)
    with clock.stage("classify") as progress:
        progress.info("nothing to do")
    with clock.stage("sample") as progress:
        progress.did_work()
    assert [timing.stage for timing in clock.timings()] == ["sample"]
    assert (tmp_path / "timings/sample.json").exists()
    assert not (tmp_path / "timings/classify.json").exists()


def test_a_stage_that_finds_everything_keeps_its_earlier_time(tmp_path: Path):
    with clock_of(tmp_path).stage("sample") as progress:
        progress.did_work()
    before = (tmp_path / "timings/sample.json").read_bytes()
    again = clock_of(tmp_path)
    with again.stage("sample"):
        pass
    assert (tmp_path / "timings/sample.json").read_bytes() == before
    assert [timing.stage for timing in again.timings()] == ["sample"]


def test_the_time_of_another_run_is_not_taken(tmp_path: Path):
    with clock_of(tmp_path).stage("sample") as progress:
        progress.did_work()
    run = RunDirectory(str(tmp_path))
    assert read_timing(run, demo(), "sample") is not None
    assert read_timing(run, replace(demo(), seed=demo().seed + 1), "sample") is None
    assert read_timing(run, replace(demo(), name="other"), "sample") is None


def test_gpu_seconds_are_those_of_all_workers(tmp_path: Path):
    clock = clock_of(tmp_path, num_workers=3, num_gpus_per_worker=0.5)
    with clock.stage("score") as progress:
        progress.did_work()
    (timing,) = clock.timings()
    assert timing.gpu_seconds == 1.5 * timing.seconds


def test_events_name_the_stage_that_was_begun_last(tmp_path: Path):
    heard: list[Event] = []
    clock = clock_of(tmp_path, heard)
    assert clock.last == ""
    with clock.stage("personalize.lora") as progress:
        progress.info("one")
        clock.tell("waiting")
    assert [(event.stage, getattr(event, "text", "")) for event in heard] == [
        ("personalize.lora", "one"),
        ("personalize.lora", "waiting"),
    ]
    assert clock.timings() == [], "what the clock itself says is no work"
