"""What must be learnt, in which order and under which keys; actors are answered in this process."""

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_fan_out import _Ray

from flowerti.artifacts.records import Census, Learned, SelectedClass, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster import fan_out
from flowerti.cluster import personalize as stage
from flowerti.cluster.personalize import personalize, plan_task, spec_of
from flowerti.cluster.sample import plan_sets
from flowerti.config.experiment import BaseConfig, ClusterConfig, DataConfig, Experiment, SamplingConfig
from flowerti.config.techniques import TECHNIQUES
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


def _image(folder: Path, name: str, seed: int) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return str(folder / name)


def _census(records: list[Record], fingerprint: str) -> Census:
    """What the census says of these images: a hash over each class's own ones."""
    digests = {
        name: hashlib.sha256(
            b"".join(hashlib.sha256(Path(r.address).read_bytes()).digest() for r in records if r.class_id == n)
        ).hexdigest()
        for n, name in enumerate("abc")
    }
    return Census(fingerprint=fingerprint, counts=[], train_sha256=digests, unreadable=[], duplicates=[])


@pytest.fixture
def study(tmp_path) -> Study:
    records = [
        Record(id=f"{name}{i}", address=_image(tmp_path, f"{name}{i}.png", 7 * i + n), class_id=n, split="train")
        for n, name in enumerate("abc")
        for i in range(2)
    ]
    experiment = Experiment(
        name="tiny",
        data=DataConfig(kind="herbarium"),
        base=BaseConfig(path="demo"),
        sampling=SamplingConfig(sources=SOURCES),
        cluster=ClusterConfig(classes_per_actor=3),
    )
    return Study(
        experiment=experiment,
        run=RunDirectory(str(tmp_path / "run")),
        dataset=Dataset(class_names=tuple("abc"), records=tuple(records)),
        census=_census(records, ""),
        base_sha256="b" * 64,
        alternative_names={},
        latin_names={"b": "B. latina"},
    )


class _Learning:
    """Answers as workers would, and remembers what was asked for and which techniques worked."""

    def __init__(self, study: Study, failing: tuple[str, str]) -> None:
        self.asked: list[str] = []
        self.worked: list[str] = []
        self._study, self._failing = study, failing

    def answer(self, group: list[LearningTask]) -> list[Learned]:
        self.asked.append(f"{group[0].technique}: {' '.join(task.class_name for task in group)}")
        return [self._learn(task) for task in group]

    def _learn(self, task: LearningTask) -> Learned:
        if (task.technique, task.class_name) == self._failing:
            return task.failed("loss is nan")
        learned = Learned(class_name=task.class_name, technique=task.technique, token=f"<{task.class_name}>")
        content = f"{task.technique} {task.key}".encode()
        return save_learned(self._study.run, learned, {f"{task.technique}.bin": content}, task.key)

    @contextmanager
    def progress_for(self, technique: str) -> Iterator[Progress]:
        progress = Progress(f"personalize.{technique}")
        yield progress
        if progress.has_worked:
            self.worked.append(technique)


def _personalize(
    monkeypatch: pytest.MonkeyPatch, study: Study, failing: tuple[str, str] = ("", "")
) -> tuple[list[Learned], _Learning]:
    learning = _Learning(study, failing)
    monkeypatch.setattr(fan_out, "ray", _Ray(learning.answer))
    monkeypatch.setattr(stage, "connect", lambda config: None)
    return personalize(study, SELECTION, learning.progress_for), learning


def test_techniques_follow_each_other_and_a_class_that_failed_is_not_tried_with_the_next(monkeypatch, study):
    learned, learning = _personalize(monkeypatch, study, failing=("textual_inversion", "b"))
    found = [(one.technique, one.class_name, one.error) for one in learned]
    assert found == [
        ("textual_inversion", "a", ""),
        ("textual_inversion", "b", "loss is nan"),
        ("textual_inversion", "c", ""),
        ("lora", "a", ""),
        ("lora", "c", ""),
    ]
    assert learning.asked == ["textual_inversion: a b c", "lora: a", "lora: c"], "adapters share no batch"
    assert learning.worked == ["textual_inversion", "lora"]
    assert study.run.load("concepts/b/textual_inversion.json", Learned).error == "loss is nan"


def test_what_is_there_is_not_learnt_again_and_is_no_work(monkeypatch, study):
    first, _ = _personalize(monkeypatch, study)
    again, learning = _personalize(monkeypatch, study)
    assert again == first
    assert learning.asked == learning.worked == []


def test_only_what_sources_need_is_learnt(monkeypatch, study):
    sampling = SamplingConfig(sources=("raw", "token"))
    without = dataclasses.replace(study, experiment=dataclasses.replace(study.experiment, sampling=sampling))
    learned, _ = _personalize(monkeypatch, without)
    assert {one.technique for one in learned} == {"textual_inversion"}


def test_an_image_more_in_another_class_leaves_tokens_and_adapters_as_they_are(monkeypatch, study, tmp_path):
    _personalize(monkeypatch, study)
    extra = Record(id="c9", address=_image(tmp_path, "c9.png", 99), class_id=2, split="train")
    census = _census([*study.dataset.records, extra], "another")
    dataset = dataclasses.replace(study.dataset, records=(*study.dataset.records, extra))
    _, learning = _personalize(monkeypatch, dataclasses.replace(study, dataset=dataset, census=census))
    assert learning.asked == ["textual_inversion: c", "lora: c"]


def test_an_adapter_is_learnt_anew_on_another_token(monkeypatch, study):
    _personalize(monkeypatch, study)
    study.run.write_bytes("concepts/a/textual_inversion.bin", b"changed")
    _, learning = _personalize(monkeypatch, study)
    assert learning.asked == ["textual_inversion: a"], "the same token again: its adapter stays"
    techniques = study.experiment.techniques
    longer = dataclasses.replace(techniques["textual_inversion"], num_steps=9)
    experiment = dataclasses.replace(study.experiment, techniques={**techniques, "textual_inversion": longer})
    _, learning = _personalize(monkeypatch, dataclasses.replace(study, experiment=experiment))
    assert learning.asked == ["textual_inversion: a b c", "lora: a", "lora: b", "lora: c"]


def test_the_technique_s_own_settings_reach_its_workers(study):
    technique = TECHNIQUES["lora"]
    name, config, origin = spec_of(study, technique).arguments
    assert (name, config) == ("lora", study.experiment.techniques["lora"])
    assert (origin.base, origin.base_sha256, origin.run) == (study.experiment.base, "b" * 64, study.run)
    task = plan_task(study, technique, "b", [])
    assert task.addresses == tuple(record.address for record in study.dataset.of("train", "b"))
    assert (task.technique, task.class_name, task.run_seed) == ("lora", "b", study.experiment.seed)


def test_sets_are_those_that_a_class_has_words_and_learning_for(monkeypatch, study):
    learned, _ = _personalize(monkeypatch, study, failing=("lora", "a"))
    planned = {name: {tasks[0].source: tasks for tasks in plan_sets(study, name, learned)} for name in "ab"}
    assert list(planned["a"]) == ["raw", "token"], "no Latin name is known, and its adapter failed"
    assert list(planned["b"]) == ["raw", "latin_name", "token", "lora"]
    words = {source: tasks[0].words for source, tasks in planned["b"].items()}
    assert words == {"raw": "b", "latin_name": "B. latina", "token": "<b>", "lora": "<b>"}


def test_keys_of_shards_hold_base_precision_and_the_files_of_what_was_learnt(monkeypatch, study):
    learned, _ = _personalize(monkeypatch, study)

    def keys(changed: Study, records: list[Learned]) -> dict[str, str]:
        return {tasks[0].source: tasks[0].key for tasks in plan_sets(changed, "b", records)}

    before = keys(study, learned)
    other_adapter = [
        dataclasses.replace(one, files={"lora.bin": "other"}) if one.technique == "lora" else one for one in learned
    ]
    other_token = [
        dataclasses.replace(one, files={"x": "other"}) if one.technique != "lora" else one for one in learned
    ]
    half = dataclasses.replace(study.experiment, base=BaseConfig(path="demo", dtype="bfloat16"))

    def changed(after: dict[str, str]) -> set[str]:
        return {source for source in before if before[source] != after[source]}

    assert changed(keys(study, [dataclasses.replace(one, seconds=9.0) for one in learned])) == set()
    assert changed(keys(study, other_adapter)) == {"lora"}
    assert changed(keys(study, other_token)) == {"token", "lora"}
    assert changed(keys(dataclasses.replace(study, base_sha256="c" * 64), learned)) == set(SOURCES)
    assert changed(keys(dataclasses.replace(study, experiment=half), learned)) == set(SOURCES)
    assert len(set(before.values())) == len(SOURCES)


def test_training_images_alone_are_learnt_from(study, tmp_path):
    held_out = [
        Record(id=f"{split} {n}", address=_image(tmp_path, f"{split}{n}.png", 50 + n), class_id=n, split=split)
        for split in ("validation", "test")
        for n in range(3)
    ]
    dataset = dataclasses.replace(study.dataset, records=(*study.dataset.records, *held_out))
    for technique in TECHNIQUES:
        task = plan_task(dataclasses.replace(study, dataset=dataset), technique, "b", [])
        assert set(task.addresses) == {record.address for record in study.dataset.of("train", "b")}
        assert not {record.address for record in held_out} & set(task.addresses)
