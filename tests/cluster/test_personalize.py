"""What must be learnt, in which order and under which keys; actors are answered in this process."""

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
    ClassifierReport,
    ClassScore,
    ImageSet,
    Learned,
    SelectedClass,
    Selection,
)
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster import fan_out
from flowerti.cluster import personalize as stage
from flowerti.cluster.image_sets import synthetic_set
from flowerti.cluster.personalize import personalize, plan_task, spec_of
from flowerti.cluster.sample import plan_sets, sample
from flowerti.config.experiment import (
    BaseConfig,
    ClusterConfig,
    DataConfig,
    Experiment,
    ReplicationConfig,
    SamplingConfig,
)
from flowerti.config.techniques import TECHNIQUES
from flowerti.data.dataset import Dataset, Record
from flowerti.data.draws import SpareImages
from flowerti.data.shards import write_shard
from flowerti.personalization.store import save_learned
from flowerti.personalization.worker import LearningTask
from flowerti.progress import Progress
from flowerti.study import Study
from flowerti.tables import sources as table

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
        replication=ReplicationConfig(num_learnings=1),
        cluster=ClusterConfig(num_workers=1, classes_per_actor=3),
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
        self.asked.append(f"{group[0].technique}: {' '.join(_short(task) for task in group)}")
        return [self._learn(task) for task in group]

    def _learn(self, task: LearningTask) -> Learned:
        if (task.technique, _short(task)) == self._failing:
            return task.failed("loss is nan")
        learned = Learned(
            class_name=task.class_name,
            technique=task.technique,
            learning=task.learning,
            token=f"<{task.class_name}>",
        )
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


def _with_learnings(study: Study, **counts: int) -> Study:
    experiment = dataclasses.replace(study.experiment, replication=ReplicationConfig(**counts))
    return dataclasses.replace(study, experiment=experiment)


def _places(learned: list[Learned]) -> list[tuple[str, str, str]]:
    return [(one.technique, _short(one), one.error) for one in learned]


def test_each_learning_is_a_task_in_the_order_of_techniques_classes_and_learnings(monkeypatch, study):
    learned, learning = _personalize(monkeypatch, _with_learnings(study, num_learnings=2))
    subjects = ["a", "a1", "b", "b1", "c", "c1"]
    assert _places(learned) == [(name, one, "") for name in ("textual_inversion", "lora") for one in subjects]
    groups = ["textual_inversion: a a1 b", "textual_inversion: b1 c c1"]
    assert learning.asked == [*groups, *(f"lora: {one}" for one in subjects)]
    again, learning = _personalize(monkeypatch, _with_learnings(study, num_learnings=2))
    assert (again, learning.asked) == (learned, [])


def test_learnings_can_be_added_to_a_run_and_leave_the_first_as_it_was(monkeypatch, study):
    first, _ = _personalize(monkeypatch, study)
    records = {name: study.run.read_bytes(name) for name in study.run.names("concepts")}
    assert not [name for name in records if "learning" in name]
    learned, learning = _personalize(monkeypatch, _with_learnings(study, num_learnings=3))
    assert [one for one in learned if not one.learning] == first
    assert {name: study.run.read_bytes(name) for name in records} == records
    assert learning.asked[:2] == ["textual_inversion: a1 a2 b1", "textual_inversion: b2 c1 c2"]


def test_a_failed_learning_leaves_the_others_of_its_class(monkeypatch, study):
    study = _with_learnings(study, num_learnings=3)
    learned, _ = _personalize(monkeypatch, study, failing=("textual_inversion", "b1"))
    assert [(place, one) for place, one in zip(_places(learned), learned, strict=True) if one.error] == [
        (("textual_inversion", "b1", "loss is nan"), learned[4])
    ]
    assert [_short(one) for one in learned if one.technique == "lora"] == ["a", "a1", "a2", "b", "b2", "c", "c1", "c2"]
    assert study.run.load("concepts/b/learning-1/textual_inversion.json", Learned).error == "loss is nan"
    planned = [(tasks[0].source, tasks[0].learning) for tasks in plan_sets(study, "b", learned)]
    assert planned == [("raw", 0), ("latin_name", 0), ("token", 0), ("token", 2), ("lora", 0), ("lora", 2)]


def test_a_class_whose_first_learning_failed_still_has_the_others(monkeypatch, study):
    study = _with_learnings(study, num_learnings=2)
    learned, _ = _personalize(monkeypatch, study, failing=("textual_inversion", "a"))
    planned = [(tasks[0].source, tasks[0].learning) for tasks in plan_sets(study, "a", learned)]
    assert planned == [("raw", 0), ("token", 1), ("lora", 1)]


def test_what_a_learning_builds_on_is_of_the_same_learning(monkeypatch, study):
    study = _with_learnings(study, num_learnings=2)
    learned, _ = _personalize(monkeypatch, study)
    study.run.write_bytes("concepts/a/learning-1/textual_inversion.bin", b"changed")
    _, learning = _personalize(monkeypatch, study)
    assert learning.asked == ["textual_inversion: a1"]
    techniques = {one.technique: one for one in learned if _short(one) == "a1"}
    task = plan_task(study, TECHNIQUES["lora"], "a", [techniques["textual_inversion"]], 1)
    assert study.run.load("concepts/a/learning-1/lora.json", Learned, task.key) == techniques["lora"]
    of_first = next(one for one in learned if (one.technique, _short(one)) == ("textual_inversion", "a"))
    assert plan_task(study, TECHNIQUES["lora"], "a", [of_first], 1).key != task.key


def test_keys_of_the_first_learning_are_those_of_a_run_without_others(study):
    for technique in TECHNIQUES:
        first = plan_task(study, technique, "b", [])
        assert plan_task(_with_learnings(study, num_learnings=4), technique, "b", []) == first
        others = [plan_task(_with_learnings(study, num_learnings=4), technique, "b", [], k) for k in (1, 2)]
        assert len({first.key, *(other.key for other in others)}) == 3
        for k, other in enumerate(others, start=1):
            assert other == dataclasses.replace(first, key=other.key, learning=k)


def test_learnings_of_another_draw_see_its_images(study):
    spare = tuple(Record(f"spare/{i}", 1, "train", f"spare/{i}.png") for i in range(40))
    spares = SpareImages(records={"b": spare}, sha256={"b": "s"})
    study = dataclasses.replace(_with_learnings(study, num_draws=2, num_learnings=2), spare=spares)
    tasks = [plan_task(study, TECHNIQUES["textual_inversion"], "b", [], k) for k in range(4)]
    assert tasks[0].addresses == tasks[1].addresses
    assert tasks[2].addresses == tasks[3].addresses == tuple(r.address for r in study.drawn_images("b", 1))
    assert set(tasks[2].addresses) & {record.address for record in spare}
    assert len({task.key for task in tasks}) == 4


def test_sets_are_in_the_order_of_classes_sources_and_learnings(monkeypatch, study):
    study = _with_learnings(study, num_learnings=2)
    learned, _ = _personalize(monkeypatch, study, failing=("lora", "c"))
    monkeypatch.setattr("flowerti.cluster.sample.connect", lambda config: None)
    monkeypatch.setattr("flowerti.cluster.sample._draw", lambda study, tasks, progress: None)
    sets = sample(study, SELECTION, learned, Progress())
    found = [(one.class_name, one.source, one.learning) for one in sets]
    learnt = [(source, k) for source in ("token", "lora") for k in (0, 1)]
    assert found == [
        *[("a", source, k) for source, k in [("raw", 0), *learnt]],
        *[("b", source, k) for source, k in [("raw", 0), ("latin_name", 0), *learnt]],
        *[("c", source, k) for source, k in [("raw", 0), *learnt] if (source, k) != ("lora", 0)],
    ]
    assert len({one.key for one in sets}) == len(sets)
    assert len({file for one in sets for file in one.files}) == sum(len(one.files) for one in sets)


def test_sources_that_are_no_arm_have_images_of_the_first_learning_alone(monkeypatch, study):
    study = _with_learnings(study, num_learnings=2)
    learned, _ = _personalize(monkeypatch, study)
    rows = {row.name: dataclasses.replace(row, is_arm=row.name != "lora") for row in table.SOURCES}
    monkeypatch.setattr("flowerti.cluster.sample.SOURCES", rows)
    monkeypatch.setattr("flowerti.config.experiment.SOURCES", rows)
    planned = [(tasks[0].source, tasks[0].learning) for tasks in plan_sets(study, "a", learned)]
    assert planned == [("raw", 0), ("token", 0), ("token", 1), ("lora", 0)]


def test_features_of_each_learning_have_a_name_of_their_own(study):
    names = []
    for learning in (0, 1):
        file = f"synthetic/{learning}.parquet"
        write_shard(study.run, file, [], "k")
        images = ImageSet(
            class_name="b", source="token", learning=learning, prompt="", num_images=0, files=[file], key="k"
        )
        names.append(synthetic_set(study, images, "plain").name)
    assert names == ["synthetic.b.token.plain", "synthetic.b.token.learning-1.plain"]


def _with_sources(study: Study, *sources: str, **more: object) -> Study:
    sampling = SamplingConfig(sources=sources, **more)
    return dataclasses.replace(study, experiment=dataclasses.replace(study.experiment, sampling=sampling))


def test_sets_of_a_draw_start_from_its_images(study):
    spare = tuple(Record(f"spare/{i}", 1, "train", f"spare/{i}.png") for i in range(40))
    study = dataclasses.replace(study, spare=SpareImages(records={"b": spare}, sha256={"b": "s"}))
    study = _with_learnings(_with_sources(study, "token", "raw_img2img", "round_trip"), num_draws=2, num_learnings=2)
    planned = plan_sets(study, "b", [])
    found = [(tasks[0].source, tasks[0].learning) for tasks in planned]
    assert found == [(source, k) for source in ("raw_img2img", "round_trip") for k in range(4)]
    for tasks in planned:
        images = study.drawn_images("b", study.experiment.replication.draw_of(tasks[0].learning))
        started = {start.image.id for task in tasks for start in task.starts}
        assert started == {record.id for record in images}
    assert len({tasks[0].key for tasks in planned}) == 8


def test_an_image_more_in_a_class_changes_the_sets_that_start_from_it_alone(study):
    study = _with_sources(study, "raw", "token", "raw_img2img", "round_trip")
    other = study.census.train_sha256 | {"b": "other"}
    changed = dataclasses.replace(study, census=dataclasses.replace(study.census, train_sha256=other))

    def keys(one: Study, name: str) -> dict[str, str]:
        return {tasks[0].source: tasks[0].key for tasks in plan_sets(one, name, [])}

    before, after = keys(study, "b"), keys(changed, "b")
    assert {source for source in before if before[source] != after[source]} == {"raw_img2img", "round_trip"}
    assert keys(study, "a") == keys(changed, "a")


def test_a_set_is_led_away_from_the_class_that_it_is_confused_with(study):
    study = _with_sources(study, "raw", "token", "round_trip", negative="confusable")
    with pytest.raises(ValueError, match=r"^sampling\.negative 'confusable' needs to know .*run the stage classify"):
        sample(study, SELECTION, [], Progress())
    scores = [ClassScore(class_name=name, precision=0.5, recall=0.5, f1=0.5, support=3) for name in "abc"]
    report = ClassifierReport(
        backbone="", weights_sha256="", accuracy=0.5, macro_f1=0.5, curves=[], classes=scores,
        confusion=[[3, 0, 0], [0, 2, 1], [0, 0, 3]],
    )  # fmt: skip
    negatives = {
        name: {tasks[0].source: tasks[0].negative for tasks in plan_sets(study, name, [], report)} for name in "abc"
    }
    assert negatives["b"] == {"raw": "c", "round_trip": ""}
    assert negatives["a"] == {"raw": "", "round_trip": ""}, "it is confused with no class"
    plain = _with_sources(study, "raw", "token", "round_trip")
    by_source = [{t[0].source: t[0].key for t in plan_sets(one, "b", [], report)} for one in (study, plain)]
    assert {source for source in by_source[0] if by_source[0][source] != by_source[1][source]} == {"raw"}
