"""A study of three classes, and workers that are answered in this process; two test modules share it."""

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_fan_out import _Ray, _short

from flowerti.artifacts.records import (
    Census,
    Learned,
    SelectedClass,
    Selection,
)
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster import fan_out
from flowerti.cluster import personalize as stage
from flowerti.cluster.personalize import personalize
from flowerti.config.experiment import (
    BaseConfig,
    ClusterConfig,
    DataConfig,
    Experiment,
    ReplicationConfig,
    SamplingConfig,
)
from flowerti.data.dataset import Dataset, Record
from flowerti.personalization.store import save_learned
from flowerti.personalization.worker import LearningTask
from flowerti.progress import Progress
from flowerti.study import Study

SOURCES = ("raw", "latin_name", "token", "lora")
SELECTION = Selection(
    selected=[SelectedClass(class_name=name, num_train=2, f1_validation=0.5, reason="") for name in "abc"],
    by_evidence=[],
)


def image_file(folder: Path, name: str, seed: int) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return str(folder / name)


def census_of(records: list[Record], fingerprint: str) -> Census:
    """What the census says of these images: a hash over each class's own ones."""
    digests = {
        name: hashlib.sha256(
            b"".join(hashlib.sha256(Path(r.address).read_bytes()).digest() for r in records if r.class_id == n)
        ).hexdigest()
        for n, name in enumerate("abc")
    }
    return Census(fingerprint=fingerprint, counts=[], train_sha256=digests, unreadable=[], duplicates=[])


def study_in(tmp_path: Path) -> Study:
    """Three classes of two images in a run directory where nothing was learnt."""
    records = [
        Record(id=f"{name}{i}", address=image_file(tmp_path, f"{name}{i}.png", 7 * i + n), class_id=n, split="train")
        for n, name in enumerate("abc")
        for i in range(2)
    ]
    experiment = Experiment(
        name="tiny",
        data=DataConfig(kind="herbarium"),
        base=BaseConfig(path="demo"),
        sampling=SamplingConfig(sources=SOURCES),
        replication=ReplicationConfig(num_learnings=1),
        cluster=ClusterConfig(num_workers=1, classes_per_actor=3),
    )
    return Study(
        experiment=experiment,
        run=RunDirectory(str(tmp_path / "run")),
        dataset=Dataset(class_names=tuple("abc"), records=tuple(records)),
        census=census_of(records, ""),
        base_sha256="b" * 64,
        alternative_names={},
        latin_names={"b": "B. latina"},
    )


class Learning:
    """Answers as workers would, and remembers what was asked for and which techniques worked."""

    def __init__(self, study: Study, failing: tuple[str, str]) -> None:
        self.asked: list[str] = []
        self.worked: list[str] = []
        self._study, self._failing = study, failing

    def answer(self, group: list[LearningTask]) -> list[Learned]:
        self.asked.append(f"{group[0].technique}: {' '.join(_short(task) for task in group)}")
        return [self._learn(task) for task in group]

    def _learn(self, task: LearningTask) -> Learned:
        if (task.technique, _short(task)) == self._failing:
            return task.failed("loss is nan")
        learned = Learned(
            class_name=task.class_name,
            technique=task.technique,
            learning=task.learning,
            token="" if task.together else f"<{task.class_name}>",
            classes=[one.class_name for one in task.together],
        )
        content = f"{task.technique} {task.key}".encode()
        return save_learned(self._study.run, learned, {f"{task.technique}.bin": content}, task.key)

    @contextmanager
    def progress_for(self, technique: str) -> Iterator[Progress]:
        progress = Progress(f"personalize.{technique}")
        yield progress
        if progress.has_worked:
            self.worked.append(technique)


def personalize_in(
    monkeypatch: pytest.MonkeyPatch, study: Study, failing: tuple[str, str] = ("", "")
) -> tuple[list[Learned], Learning]:
    learning = Learning(study, failing)
    monkeypatch.setattr(fan_out, "ray", _Ray(learning.answer))
    monkeypatch.setattr(stage, "connect", lambda config: None)
    return personalize(study, SELECTION, learning.progress_for), learning


def with_learnings(study: Study, **counts: int) -> Study:
    experiment = dataclasses.replace(study.experiment, replication=ReplicationConfig(**counts))
    return dataclasses.replace(study, experiment=experiment)
