"""The plan of a run: closed forms, refusals, and the inversion's own fan-out on a clock that only pretends."""

import heapq
import itertools
import math
import time
import tracemalloc
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flowerti.artifacts.records import Concept, SelectedClass, Selection, Timing
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cli import main
from flowerti.config.experiment import to_json
from flowerti.config.presets import demo, flowers102
from flowerti.plan import StepTimes, estimate, measured_times, num_trials, schedule

TIMES = StepTimes(inversion_step=0.4, drawn_image=2.0, scored_image=0.1, trial=60.0, actor_start=10.0)


def test_equal_tasks_are_shared_evenly():
    planned = schedule([100.0] * 12, num_workers=4, start_s=20.0)
    assert planned.makespan_s == 3 * 120.0
    assert planned.busy == pytest.approx(100 / 120)


def test_the_longest_come_first_and_more_workers_than_tasks_idle():
    assert schedule([1.0, 1.0, 1.0, 3.0], num_workers=2, start_s=0.0).makespan_s == 3.0
    planned = schedule([5.0, 1.0], num_workers=4, start_s=0.0)
    assert (planned.makespan_s, planned.busy) == (5.0, 6 / 20)
    assert schedule([], num_workers=4, start_s=1.0).makespan_s == 0.0


def test_no_schedule_is_worse_than_grahams_bound_on_the_best_one():
    rng = np.random.default_rng(0)
    for _ in range(50):
        tasks = rng.uniform(1, 10, 7)
        best = min(
            max(sum(t for t, worker in zip(tasks, split, strict=True) if worker == w) for w in range(3))
            for split in itertools.product(range(3), repeat=7)
        )
        assert best - 1e-9 <= schedule(list(tasks), 3, 0.0).makespan_s <= (4 / 3 - 1 / 9) * best + 1e-9


def test_each_stage_costs_what_its_steps_do():
    experiment = flowers102()
    invert, sample, score, sweep = estimate(experiment, 1000, 100, TIMES, price_per_hour=2.0)
    assert invert.num_tasks == 1000
    assert invert.wall_hours == pytest.approx(10 * (2000 * 0.4 + 10) / 3600)
    assert invert.worker_hours == pytest.approx(100 * invert.wall_hours)
    assert invert.cost == pytest.approx(2 * invert.worker_hours)
    num_images = 1000 * len(experiment.sampling.sources) * 128
    assert sample.busy * sample.worker_hours == pytest.approx(num_images * 2.0 / 3600)
    assert 0.1 < sample.storage_gb * 1e9 / num_images / (512 * 512 * 3) < 1
    assert score.busy * score.worker_hours == pytest.approx(2 * num_images * 0.1 / 3600)
    assert sweep.num_tasks == num_trials(experiment)
    assert sweep.busy * sweep.worker_hours == pytest.approx(sweep.num_tasks * 60 / 3600)


def test_fewer_starts_are_paid_when_an_actor_learns_several_classes():
    experiment = flowers102()
    packed = replace(experiment, cluster=replace(experiment.cluster, classes_per_actor=5))
    one, five = (estimate(e, 1000, 100, TIMES)[0] for e in (experiment, packed))
    assert five.num_tasks == 200
    assert five.worker_hours == pytest.approx(one.worker_hours - 800 * 10 / 3600)


@pytest.mark.parametrize("wrong", [{"num_classes": 0}, {"num_workers": 0}, {"price_per_hour": -1.0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]):
    asked: dict[str, Any] = {"num_classes": 3, "num_workers": 2, "price_per_hour": 1.0} | wrong
    with pytest.raises(ValueError, match="at least"):
        estimate(demo(), times=TIMES, **asked)


def finished_run(folder: Path) -> RunDirectory:
    run, experiment = RunDirectory(str(folder)), demo()
    run.write_bytes("config.json", to_json(experiment).encode())
    for name, seconds in (("a", 30.0), ("b", 60.0)):
        run.save(
            f"concepts/{name}/concept.json", Concept(class_name=name, token="t", num_steps=300, seconds=seconds), "k"
        )
    run.save("concepts/c/concept.json", Concept(class_name="c", token="t", error="broken"), "k")
    for stage, seconds in (("sample", 120.0), ("score", 12.0), ("sweep", 90.0)):
        run.save(f"timings/{stage}.json", Timing(stage=stage, seconds=seconds, gpu_seconds=0.0), stage)
    return run


def test_times_are_taken_from_a_finished_run(tmp_path: Path):
    times = measured_times(finished_run(tmp_path), actor_start_s=12.0)
    assert times.inversion_step == pytest.approx(90 / 600)
    # two workers, two classes that were learnt, three sources, forty images
    assert times.drawn_image == pytest.approx(2 * 120 / (2 * 3 * 40))
    assert times.trial == pytest.approx(2 * 90 / num_trials(demo()))


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
    assert "--seconds-per-inversion-step" in capsys.readouterr().err
    assert main([*asked, "--from-run", str(tmp_path), "--seconds-per-trial", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["stage", "invert", "sample", "score", "sweep", "all"]


@dataclass
class PretendedRay:
    """Stands in for Ray under the inversion's fan-out: actors take time on a clock that jumps to the next end."""

    start_s: float
    learn_s: dict[str, float]
    now: float = 0.0
    peak: int = 0
    live: int = 0
    _ends: list[tuple[float, int, Any]] = field(default_factory=list)
    _groups: dict[Any, list[Any]] = field(default_factory=dict)

    def remote(self, _kind: type) -> Any:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._actor))

    def _actor(self, *_: Any) -> Any:
        self.live += 1
        self.peak = max(self.peak, self.live)
        return SimpleNamespace(learn_together=SimpleNamespace(remote=self._learn))

    def _learn(self, group: list[Any]) -> Any:
        from ray import ObjectRef

        reference = ObjectRef(len(self._groups).to_bytes(28, "big"))
        self._groups[reference] = group
        seconds = self.start_s + sum(self.learn_s[task.class_name] for task in group)
        heapq.heappush(self._ends, (self.now + seconds, len(self._groups), reference))
        return reference

    def wait(self, references: list[Any], **_options: Any) -> tuple[list[Any], list[Any]]:
        self.now, _, reference = heapq.heappop(self._ends)
        assert reference in references
        return [reference], []

    def get(self, reference: Any) -> list[Concept]:
        return [Concept(class_name=task.class_name, token="t", num_steps=1) for task in self._groups[reference]]

    def kill(self, _actor: Any) -> None:
        self.live -= 1


@dataclass
class Simulation:
    """The real `invert` on a pretended cluster: what it took there, and what it cost the driver here."""

    ray: PretendedRay
    num_learnt: int
    driver_s: float
    driver_bytes: int
    """Most that it held beside its input; 0 where memory is not traced, which takes time."""


def simulate(patch: pytest.MonkeyPatch, num_classes: int, num_workers: int, classes_per_actor: int = 1) -> Simulation:
    from flowerti.cluster import fan_out, invert
    from flowerti.personalization.worker import InversionTask
    from flowerti.study import Study

    rng = np.random.default_rng(5)
    num_images = rng.integers(2, 60, num_classes)
    tasks = {
        f"class {i}": InversionTask(
            class_name=f"class {i}", addresses=("p",) * int(num), image_size_px=64, run_seed=0, key=str(i)
        )
        for i, num in enumerate(num_images)
    }
    # the preset's steps at a third of a second, encoding by number of images, and 3 % that cannot be foreseen; with
    # 600 s a class and 5 % the share that is spent learning, starts not counted, was 94.8 %
    step_s = flowers102().inversion.num_steps * 0.35
    seconds = {name: step_s * (1 + rng.normal(0, 0.03)) + len(t.addresses) for name, t in tasks.items()}
    pretended = PretendedRay(start_s=13.0, learn_s=seconds)
    patch.setattr(fan_out, "ray", pretended)
    patch.setattr(invert, "connect", lambda config: None)
    patch.setattr(invert, "plan", lambda study, name: tasks[name])
    patch.setattr(invert, "load_concept", lambda run, name, key: None)
    experiment = flowers102()
    cluster = replace(experiment.cluster, num_workers=num_workers, classes_per_actor=classes_per_actor)
    study = object.__new__(Study)  # what a preflight of real images would give is not asked for
    for name, value in (("run", None), ("base_sha256", ""), ("experiment", replace(experiment, cluster=cluster))):
        object.__setattr__(study, name, value)
    chosen = [SelectedClass(class_name=name, num_train=2, f1_validation=0.0, reason="") for name in tasks]
    selection = Selection(selected=chosen, by_evidence=[])
    tracemalloc.reset_peak()
    held, begun = tracemalloc.get_traced_memory()[0], time.process_time()
    concepts = invert.invert(study, selection, lambda text: None)
    spent = time.process_time() - begun
    return Simulation(pretended, len(concepts), spent, tracemalloc.get_traced_memory()[1] - held)


@pytest.mark.parametrize("classes_per_actor", [1, 2])
def test_a_thousand_classes_keep_a_hundred_gpus_busy(classes_per_actor: int, monkeypatch: pytest.MonkeyPatch):
    done = simulate(monkeypatch, 1000, 100, classes_per_actor)
    assert done.num_learnt == 1000
    assert (done.ray.peak, done.ray.live) == (100, 0)
    busy = sum(done.ray.learn_s.values()) / (100 * done.ray.now)
    assert busy >= 0.95
    names, size = sorted(done.ray.learn_s, key=lambda name: -done.ray.learn_s[name]), classes_per_actor
    groups = [sum(done.ray.learn_s[n] for n in names[b : b + size]) for b in range(0, 1000, size)]
    planned = schedule(groups, 100, done.ray.start_s)
    assert planned.makespan_s == pytest.approx(done.ray.now, rel=0.05), "the plan tells what the stage does"


def test_the_driver_takes_the_same_time_for_every_class(monkeypatch: pytest.MonkeyPatch):
    per_class = [min(simulate(monkeypatch, n, 100).driver_s for _ in range(3)) / n for n in (500, 2000)]
    assert math.isfinite(per_class[0])
    assert per_class[1] < 2 * per_class[0] + 1e-4


def test_the_driver_holds_the_same_for_every_class(monkeypatch: pytest.MonkeyPatch):
    simulate(monkeypatch, 10, 5)  # what is imported on the way is not the classes'
    tracemalloc.start()
    try:
        per_class = [simulate(monkeypatch, n, 100).driver_bytes / n for n in (500, 1000, 2000)]
    finally:
        tracemalloc.stop()
    assert 100 < min(per_class) and max(per_class) < 8 * 1024, "a record, not images or weights"
    assert max(per_class) < 1.3 * min(per_class), "nor anything that grows with the other classes"
