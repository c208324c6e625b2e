"""Which sets of images are drawn, and under which keys; nothing is drawn here."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from small_study import SELECTION, SOURCES, personalize_in, study_in, with_learnings

from flowerti.artifacts.records import (
    ClassifierReport,
    ClassScore,
    ImageSet,
    Learned,
)
from flowerti.cluster import sample as stage
from flowerti.cluster.image_sets import synthetic_set
from flowerti.cluster.sample import errors_of, plan_sets, sample
from flowerti.config.experiment import (
    BaseConfig,
    SamplingConfig,
)
from flowerti.data.dataset import Record
from flowerti.data.draws import SpareImages
from flowerti.data.shards import write_shard
from flowerti.generation.shard_plan import ShardTask
from flowerti.progress import Event, Info, Progress
from flowerti.study import Study
from flowerti.tables import sources as table


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return study_in(tmp_path)


def test_sets_are_those_that_a_class_has_words_and_learning_for(monkeypatch, study):
    learned, _ = personalize_in(monkeypatch, study, failing=("lora", "a"))
    planned = {name: {tasks[0].source: tasks for tasks in plan_sets(study, name, learned)} for name in "ab"}
    assert list(planned["a"]) == ["raw", "token"], "no Latin name is known, and its adapter failed"
    assert list(planned["b"]) == ["raw", "latin_name", "token", "lora"]
    words = {source: tasks[0].words for source, tasks in planned["b"].items()}
    assert words == {"raw": "b", "latin_name": "B. latina", "token": "<b>", "lora": "<b>"}


def test_keys_of_shards_hold_base_precision_and_the_files_of_what_was_learnt(monkeypatch, study):
    learned, _ = personalize_in(monkeypatch, study)

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


def test_sets_are_in_the_order_of_classes_sources_and_learnings(monkeypatch, study):
    study = with_learnings(study, num_learnings=2)
    learned, _ = personalize_in(monkeypatch, study, failing=("lora", "c"))
    monkeypatch.setattr("flowerti.cluster.sample.connect", lambda config: None)
    monkeypatch.setattr("flowerti.cluster.sample._draw", lambda study, tasks, progress: {})
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


def _answers(tasks: list[ShardTask], **errors: str) -> list[dict[str, Any]]:
    """As workers give them, with an error for a class."""
    return [
        {"file": task.file, "error": errors.get(task.class_name, ""), "is_final": "final" in errors} for task in tasks
    ]


def test_a_class_whose_images_are_not_finite_is_told_and_the_others_are_drawn(monkeypatch, study):
    learned, _ = personalize_in(monkeypatch, study)
    events: list[Event] = []
    monkeypatch.setattr(stage, "connect", lambda config: None)
    monkeypatch.setattr(
        stage, "_draw", lambda study, tasks, progress: errors_of(_answers(tasks, b="latents are nan"), tasks, progress)
    )
    sets = sample(study, SELECTION, learned, Progress("sample", [events.append]))
    assert {one.class_name for one in sets} == {"a", "c"}
    told = [event.text for event in events if isinstance(event, Info) and "left out" in event.text]
    assert told == [f"b: images from {name} failed and are left out: latents are nan" for name in SOURCES]


def test_where_no_class_has_images_the_run_ends(monkeypatch, study):
    learned, _ = personalize_in(monkeypatch, study)
    errors = dict.fromkeys("abc", "latents are nan")
    monkeypatch.setattr(stage, "connect", lambda config: None)
    monkeypatch.setattr(
        stage, "_draw", lambda study, tasks, progress: errors_of(_answers(tasks, **errors), tasks, progress)
    )
    with pytest.raises(ValueError, match="no class has images: latents are nan"):
        sample(study, SELECTION, learned, Progress())


def test_a_base_that_a_worker_cannot_use_ends_the_run(monkeypatch, study):
    learned, _ = personalize_in(monkeypatch, study)
    (tasks, *_) = plan_sets(study, "a", learned)
    with pytest.raises(ValueError, match=r"^unet is nan$"):
        errors_of(_answers(tasks, a="unet is nan", final=""), tasks, Progress())


def test_sources_that_are_no_arm_have_images_of_the_first_learning_alone(monkeypatch, study):
    study = with_learnings(study, num_learnings=2)
    learned, _ = personalize_in(monkeypatch, study)
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
    study = with_learnings(_with_sources(study, "token", "raw_img2img", "round_trip"), num_draws=2, num_learnings=2)
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
