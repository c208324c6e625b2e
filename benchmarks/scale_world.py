"""A study of many classes in a bucket, and workers that leave tiny files at once in place of their work.

What the driver does is the stages' own code. What workers do, and what it costs, is left out of every count: their
files are written while the counts stand still. This module does not know what is measured.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace
from typing import Any

import numpy as np

from flowerti.artifacts import layout
from flowerti.artifacts.records import Census, ClassCount, Learned, SelectedClass, Selection, Trial
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster import curate, features, image_sets, personalize, sample, score, sweep, trial_arrays
from flowerti.config.experiment import (
    BaseConfig,
    DataConfig,
    Experiment,
    ReplicationConfig,
    SamplingConfig,
    SweepConfig,
)
from flowerti.config.techniques import Technique
from flowerti.data.dataset import Dataset, Record, Split
from flowerti.data.shards import write_shard
from flowerti.features.files import write_features
from flowerti.generation.pixels import encode_png
from flowerti.generation.shard_plan import ShardTask
from flowerti.personalization import store
from flowerti.personalization.store import save_learned
from flowerti.personalization.worker import LearningTask
from flowerti.progress import Progress
from flowerti.scoring.distances import ClassScores
from flowerti.scoring.tasks import RecognitionScores
from flowerti.study import Study

SOURCES = ("raw", "latin_name", "alternative_name", "token", "lora")
_NUM_IMAGES: dict[Split, int] = {"train": 4, "validation": 4, "test": 4}


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldSize:
    """How many classes, sources, and shards of each class and source."""

    num_classes: int
    """Weak ones."""
    num_sources: int
    num_shards: int
    batch_size: int = 16
    """Images of a shard."""


@dataclass(kw_only=True)
class Counts:
    """What the driver has done so far, without the work of workers."""

    requests: Callable[[], int]
    """Requests that the store has answered."""
    task_bytes: list[int] = field(default_factory=list)
    """Of the arguments of each of Ray's tasks."""
    _requests_of_workers: int = 0
    _seconds_of_workers: float = 0.0

    def now(self) -> tuple[int, float]:
        """Requests and CPU seconds of the driver."""
        return self.requests() - self._requests_of_workers, time.process_time() - self._seconds_of_workers

    @contextmanager
    def of_workers(self) -> Iterator[None]:
        """What is done in this block counts for nobody."""
        requests, seconds = self.requests(), time.process_time()
        yield
        self._requests_of_workers += self.requests() - requests
        self._seconds_of_workers += time.process_time() - seconds


def study_in(run: RunDirectory, size: WorldSize) -> Study:
    """A study with nothing in its run directory."""
    names = tuple(f"class {number:04d}" for number in range(size.num_classes + 1))
    records = [
        Record(id=f"{split}/{name}/{i}", class_id=class_id, split=split, address=f"{split}/{name}/{i}.png")
        for split, num in _NUM_IMAGES.items()
        for class_id, name in enumerate(names)
        for i in range(num)
    ]
    counts = [ClassCount(class_name=name, num_train=4, num_validation=4, num_test=4) for name in names]
    census = Census(
        fingerprint="f" * 64, counts=counts, train_sha256=dict.fromkeys(names, "d" * 64), unreadable=[], duplicates=[]
    )
    return Study(
        experiment=_experiment(size),
        run=run,
        dataset=Dataset(names, tuple(records)),
        census=census,
        base_sha256="b" * 64,
        alternative_names={name: f"other {name}" for name in names},
        latin_names={name: f"latin {name}" for name in names},
    )


def _experiment(size: WorldSize) -> Experiment:
    return Experiment(
        name="scale",
        data=DataConfig(kind="herbarium", show_images=False, image_size_px=8),
        base=BaseConfig(path="demo"),
        sampling=SamplingConfig(
            sources=SOURCES[-size.num_sources :],
            num_per_class=size.num_shards * size.batch_size,
            batch_size=size.batch_size,
        ),
        replication=ReplicationConfig(num_learnings=1),
        sweep=SweepConfig(mixing=("added",), ratios=(0.5,), num_bootstrap=100),
    )


def selection_of(study: Study) -> Selection:
    """All classes but the last, which the sweep watches for harm."""
    names = study.dataset.class_names[:-1]
    chosen = [SelectedClass(class_name=name, num_train=4, f1_validation=0.5, reason="") for name in names]
    return Selection(selected=chosen, by_evidence=[])


def replace_workers(counts: Counts) -> None:
    """Put workers that only leave files in the place of Ray, in every stage that is measured."""
    for module in (curate, features, personalize, sample, score, sweep):
        _put(module, "connect", lambda cluster: None)
    _put(score, "weights_sha256", lambda backbone: "w" * 64)
    _put(sweep, "weights_sha256", lambda backbone: "w" * 64)
    _put(image_sets, "weights_sha256", lambda backbone: "w" * 64)
    _put(personalize, "FanOut", lambda cluster, spec, progress: SimpleNamespace(run=_learner(counts, spec)))
    _put(sample, "_draw", _drawer(counts))
    _put(features, "_run", _extractor(counts))
    _put(score, "ray", TasksHere(counts))
    _put(sweep, "gather", _gatherer(counts))
    _put(sweep, "train_trials", _trainer(counts))
    _put(store, "implementation_of", _comparing_tokens)


def _comparing_tokens(technique: Technique) -> Any:
    return SimpleNamespace(neighbours_among=(lambda contents: []) if technique.name == "textual_inversion" else None)


def _put(module: Any, name: str, stand_in: Any) -> None:
    assert hasattr(module, name), f"{module.__name__} has no {name} any more: mend this benchmark"
    setattr(module, name, stand_in)


def _learner(counts: Counts, spec: Any) -> Callable[[list[LearningTask]], dict[tuple[str, int], Learned]]:
    def run(tasks: list[LearningTask]) -> dict[tuple[str, int], Learned]:
        directory: RunDirectory = spec.arguments[-1].run
        with counts.of_workers():
            return {task.subject: _learnt(directory, task) for task in tasks}

    return run


def _learnt(run: RunDirectory, task: LearningTask) -> Learned:
    record = Learned(class_name=task.class_name, technique=task.technique, token=f"<{task.class_name}>", num_steps=1)
    return save_learned(run, record, {f"{task.technique}.safetensors": task.key.encode()}, task.key)


def _drawer(counts: Counts) -> Callable[[Study, list[ShardTask], Progress], dict[str, str]]:
    image = {"bytes": encode_png(np.zeros((8, 8, 3), dtype=np.uint8)), "path": "x.png"}

    def draw(study: Study, tasks: list[ShardTask], progress: Progress) -> dict[str, str]:
        with counts.of_workers():
            for task in tasks:
                rows = [{"image": image, "class_name": task.class_name, "index": index} for index in task.indices]
                write_shard(study.run, task.file, rows, task.key)
        return {}

    return draw


def _extractor(counts: Counts) -> Callable[..., None]:
    def extract(missing: dict[Any, list[dict[str, Any]]], run: RunDirectory, *_: Any) -> None:
        with counts.of_workers():
            for chunk in (chunk for chunks in missing.values() for chunk in chunks):
                write_features(run, chunk["file"], np.zeros((len(chunk["addresses"]), 1, 2), dtype=np.float32))

    return extract


class TasksHere:
    """What the scoring stage uses of Ray: a task's arguments are pickled as for a worker, and its answer is empty."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def put(self, value: Any) -> "Reference":
        """Pickle a value once; tasks that name it carry a reference only."""
        self._counts.task_bytes.append(len(ForkingPickler.dumps(value)))
        return Reference(answer=None)

    def remote(self, task: Callable[..., Any]) -> Any:
        """As Ray's."""

        def call(*arguments: Any) -> Reference:
            self._counts.task_bytes.append(len(ForkingPickler.dumps(arguments)))
            return Reference(answer=_ANSWERS[task.__name__])

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=call))

    @staticmethod
    def wait(references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        """All but the first are still at work."""
        return references[:1], references[1:]

    @staticmethod
    def get(references: Any) -> Any:
        """The answers."""
        return [one.answer for one in references] if isinstance(references, list) else references.answer


@dataclass(frozen=True)
class Reference:
    """Stands for Ray's reference to an object."""

    answer: Any


_ANSWERS: dict[str, Any] = {
    "score_one_class": ClassScores(distances=[], comparisons=[], notes=[]),
    "matrix_of": ([], []),
    "learning_distances_of": ([], []),
    "recognition_of": RecognitionScores(recognition=[], trained_on_source=[], images=[], notes=[]),
    "copies_of": ([], []),
    "sensitivity_of": [],
    "duplicates_of": [],
}


def _gatherer(counts: Counts) -> Callable[..., Any]:
    def gather(*given: Any) -> None:
        counts.task_bytes.append(len(ForkingPickler.dumps(trial_arrays._inputs(*given))))

    return gather


def _trainer(counts: Counts) -> Callable[..., list[str]]:
    def train(study: Study, data: Any, trials: Sequence[Any], progress: Progress) -> list[str]:
        with counts.of_workers():
            for one in trials:
                plan, num_classes = one.plan, len(study.dataset.class_names)
                true_ids = [record.class_id for record in study.records_of(plan.split)]
                rng = np.random.default_rng(plan.repetition.index)
                wrong = rng.random(len(true_ids)) < 0.2
                trial = Trial(
                    arm=plan.arm.name,
                    ratio=plan.ratio,
                    repetition=plan.repetition.index,
                    split=plan.split,
                    predictions=[(true + int(miss)) % num_classes for true, miss in zip(true_ids, wrong, strict=True)],
                    num_steps=1,
                    num_synthetic=0,
                    learning_rate_factor=plan.learning_rate_factor,
                )
                study.run.save(layout.trial(plan.name), trial, one.key)
        return []

    return train
