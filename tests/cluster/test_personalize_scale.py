"""A thousand classes on a hundred workers: the stage's own fan-out on a clock that only pretends."""

import heapq
import math
import time
import tracemalloc
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flowerti.artifacts.records import Census, Learned, SelectedClass, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster import fan_out
from flowerti.cluster import personalize as stage
from flowerti.config.experiment import Experiment, ReplicationConfig
from flowerti.config.presets import flowers102
from flowerti.data.dataset import Dataset, Record
from flowerti.plan import schedule
from flowerti.progress import Progress
from flowerti.study import Study

TOKENS = "textual_inversion"


@dataclass
class PretendedRay:
    """Stands in for Ray under the fan-out: actors take time on a clock that jumps to the next end."""

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
        waits = iter([self.start_s])  # the first group of an actor waits for its start
        return SimpleNamespace(
            learn_together=SimpleNamespace(remote=lambda group: self._learn(group, next(waits, 0.0)))
        )

    def _learn(self, group: list[Any], start_s: float) -> Any:
        from ray import ObjectRef

        reference = ObjectRef(len(self._groups).to_bytes(28, "big"))
        self._groups[reference] = group
        seconds = start_s + sum(self.learn_s[task.class_name] for task in group)
        heapq.heappush(self._ends, (self.now + seconds, len(self._groups), reference))
        return reference

    def wait(self, references: list[Any], **_options: Any) -> tuple[list[Any], list[Any]]:
        self.now, _, reference = heapq.heappop(self._ends)
        assert reference in references
        return [reference], []

    def get(self, reference: Any) -> list[Learned]:
        return [Learned(class_name=t.class_name, technique=t.technique, num_steps=1) for t in self._groups[reference]]

    def kill(self, _actor: Any) -> None:
        self.live -= 1


@dataclass
class Simulation:
    """The real stage on a pretended cluster: what it took there, and what it cost the driver here."""

    ray: PretendedRay
    num_learnt: int
    driver_s: float
    driver_bytes: int
    """Most that it held beside its input; 0 where memory is not traced, which takes time."""


def study_of(folder: Path, num_images: dict[str, int], experiment: Experiment) -> Study:
    """A study of classes that have nothing but training images, in a run directory where nothing was learnt."""
    names = tuple(num_images)
    records = [
        Record(f"{name}/{i}", class_id, "train", f"{name}/{i}.png")
        for class_id, name in enumerate(names)
        for i in range(num_images[name])
    ]
    census = Census(
        fingerprint="", counts=[], train_sha256=dict.fromkeys(names, "d" * 64), unreadable=[], duplicates=[]
    )
    return Study(
        experiment=experiment,
        run=RunDirectory(str(folder)),
        dataset=Dataset(names, tuple(records)),
        census=census,
        base_sha256="b" * 64,
        alternative_names={},
        latin_names={},
    )


def simulate(patch: pytest.MonkeyPatch, folder: Path, num_classes: int, classes_per_actor: int = 1) -> Simulation:
    rng = np.random.default_rng(5)
    num_images = {f"class {i}": int(num) for i, num in enumerate(rng.integers(2, 12, num_classes))}
    experiment = flowers102()
    # the preset's steps at a third of a second, encoding by number of images, and 3 % that cannot be foreseen
    step_s = experiment.techniques[TOKENS].num_steps * 0.35
    seconds = {name: step_s * (1 + rng.normal(0, 0.03)) + num for name, num in num_images.items()}
    pretended = PretendedRay(start_s=13.0, learn_s=seconds)
    patch.setattr(fan_out, "ray", pretended)
    patch.setattr(stage, "connect", lambda config: None)
    cluster = replace(experiment.cluster, num_workers=100, classes_per_actor=classes_per_actor)
    sampling = replace(experiment.sampling, sources=("token",))
    once = ReplicationConfig(num_learnings=1)
    study = study_of(folder, num_images, replace(experiment, cluster=cluster, sampling=sampling, replication=once))
    chosen = [SelectedClass(class_name=name, num_train=2, f1_validation=0.0, reason="") for name in num_images]
    selection = Selection(selected=chosen, by_evidence=[])
    by_class: dict[str, list[Record]] = {name: [] for name in num_images}
    for record in study.dataset.records:
        by_class[study.dataset.class_names[record.class_id]].append(record)
    # the real look-up goes through all records for each class; its cost is not the fan-out's
    patch.setattr(Dataset, "of", lambda self, split, name: by_class[name])
    held, begun = 0, time.process_time()
    if tracemalloc.is_tracing():
        tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]
    learned = stage.personalize(study, selection, lambda name: Progressed(name))
    spent = time.process_time() - begun
    most = tracemalloc.get_traced_memory()[1] - held if tracemalloc.is_tracing() else 0
    return Simulation(pretended, len(learned), spent, most)


class Progressed(Progress):
    """A progress that is its own context."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("classes_per_actor", [1, 2])
def test_a_thousand_classes_keep_a_hundred_gpus_busy(
    classes_per_actor: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    done = simulate(monkeypatch, tmp_path, 1000, classes_per_actor)
    assert done.num_learnt == 1000
    assert (done.ray.peak, done.ray.live) == (100, 0)
    busy = sum(done.ray.learn_s.values()) / (100 * done.ray.now)
    assert busy >= 0.95
    names, size = sorted(done.ray.learn_s, key=lambda name: -done.ray.learn_s[name]), classes_per_actor
    groups = [sum(done.ray.learn_s[n] for n in names[b : b + size]) for b in range(0, 1000, size)]
    planned = schedule(groups, 100, done.ray.start_s)
    assert planned.makespan_s == pytest.approx(done.ray.now, rel=0.05), "the plan tells what the stage does"


def test_the_driver_takes_the_same_time_for_every_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    per_class = [min(simulate(monkeypatch, tmp_path, n).driver_s for _ in range(3)) / n for n in (500, 2000)]
    assert math.isfinite(per_class[0])
    assert per_class[1] < 2 * per_class[0] + 1e-4


def test_the_driver_holds_the_same_for_every_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    simulate(monkeypatch, tmp_path, 10)  # what is imported on the way is not the classes'
    tracemalloc.start()
    try:
        per_class = [simulate(monkeypatch, tmp_path, n).driver_bytes / n for n in (500, 1000, 2000)]
    finally:
        tracemalloc.stop()
    assert 100 < min(per_class) and max(per_class) < 8 * 1024, "a record, not images or weights"
    assert max(per_class) < 1.3 * min(per_class), "nor anything that grows with the other classes"
