"""What must be learnt, in which order and under which keys; actors are answered in this process."""

import dataclasses
from pathlib import Path

import pytest
from small_study import census_of, image_file, personalize_in, study_in, with_learnings
from test_fan_out import _short

from flowerti.artifacts.records import (
    Learned,
)
from flowerti.cluster.personalize import plan_task, spec_of
from flowerti.cluster.sample import plan_sets
from flowerti.config.experiment import (
    SamplingConfig,
)
from flowerti.config.techniques import TECHNIQUES
from flowerti.data.dataset import Record
from flowerti.data.draws import SpareImages
from flowerti.study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return study_in(tmp_path)


def test_techniques_follow_each_other_and_a_class_that_failed_is_not_tried_with_the_next(monkeypatch, study):
    learned, learning = personalize_in(monkeypatch, study, failing=("textual_inversion", "b"))
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
    first, _ = personalize_in(monkeypatch, study)
    again, learning = personalize_in(monkeypatch, study)
    assert again == first
    assert learning.asked == learning.worked == []


def test_only_what_sources_need_is_learnt(monkeypatch, study):
    sampling = SamplingConfig(sources=("raw", "token"))
    without = dataclasses.replace(study, experiment=dataclasses.replace(study.experiment, sampling=sampling))
    learned, _ = personalize_in(monkeypatch, without)
    assert {one.technique for one in learned} == {"textual_inversion"}


def test_an_image_more_in_another_class_leaves_tokens_and_adapters_as_they_are(monkeypatch, study, tmp_path):
    personalize_in(monkeypatch, study)
    extra = Record(id="c9", address=image_file(tmp_path, "c9.png", 99), class_id=2, split="train")
    census = census_of([*study.dataset.records, extra], "another")
    dataset = dataclasses.replace(study.dataset, records=(*study.dataset.records, extra))
    _, learning = personalize_in(monkeypatch, dataclasses.replace(study, dataset=dataset, census=census))
    assert learning.asked == ["textual_inversion: c", "lora: c"]


def test_an_adapter_is_learnt_anew_on_another_token(monkeypatch, study):
    personalize_in(monkeypatch, study)
    study.run.write_bytes("concepts/a/textual_inversion.bin", b"changed")
    _, learning = personalize_in(monkeypatch, study)
    assert learning.asked == ["textual_inversion: a"], "the same token again: its adapter stays"
    techniques = study.experiment.techniques
    longer = dataclasses.replace(techniques["textual_inversion"], num_steps=9)
    experiment = dataclasses.replace(study.experiment, techniques={**techniques, "textual_inversion": longer})
    _, learning = personalize_in(monkeypatch, dataclasses.replace(study, experiment=experiment))
    assert learning.asked == ["textual_inversion: a b c", "lora: a", "lora: b", "lora: c"]


def test_the_technique_s_own_settings_reach_its_workers(study):
    technique = TECHNIQUES["lora"]
    name, config, origin = spec_of(study, technique).arguments
    assert (name, config) == ("lora", study.experiment.techniques["lora"])
    assert (origin.base, origin.base_sha256, origin.run) == (study.experiment.base, "b" * 64, study.run)
    task = plan_task(study, technique, "b", [])
    assert task.addresses == tuple(record.address for record in study.dataset.of("train", "b"))
    assert (task.technique, task.class_name, task.run_seed) == ("lora", "b", study.experiment.seed)


def test_training_images_alone_are_learnt_from(study, tmp_path):
    held_out = [
        Record(id=f"{split} {n}", address=image_file(tmp_path, f"{split}{n}.png", 50 + n), class_id=n, split=split)
        for split in ("validation", "test")
        for n in range(3)
    ]
    dataset = dataclasses.replace(study.dataset, records=(*study.dataset.records, *held_out))
    for technique in TECHNIQUES:
        task = plan_task(dataclasses.replace(study, dataset=dataset), technique, "b", [])
        assert set(task.addresses) == {record.address for record in study.dataset.of("train", "b")}
        assert not {record.address for record in held_out} & set(task.addresses)


def _places(learned: list[Learned]) -> list[tuple[str, str, str]]:
    return [(one.technique, _short(one), one.error) for one in learned]


def test_each_learning_is_a_task_in_the_order_of_techniques_classes_and_learnings(monkeypatch, study):
    learned, learning = personalize_in(monkeypatch, with_learnings(study, num_learnings=2))
    subjects = ["a", "a1", "b", "b1", "c", "c1"]
    assert _places(learned) == [(name, one, "") for name in ("textual_inversion", "lora") for one in subjects]
    groups = ["textual_inversion: a a1 b", "textual_inversion: b1 c c1"]
    assert learning.asked == [*groups, *(f"lora: {one}" for one in subjects)]
    again, learning = personalize_in(monkeypatch, with_learnings(study, num_learnings=2))
    assert (again, learning.asked) == (learned, [])


def test_learnings_can_be_added_to_a_run_and_leave_the_first_as_it_was(monkeypatch, study):
    first, _ = personalize_in(monkeypatch, study)
    records = {name: study.run.read_bytes(name) for name in study.run.names("concepts")}
    assert not [name for name in records if "learning" in name]
    learned, learning = personalize_in(monkeypatch, with_learnings(study, num_learnings=3))
    assert [one for one in learned if not one.learning] == first
    assert {name: study.run.read_bytes(name) for name in records} == records
    assert learning.asked[:2] == ["textual_inversion: a1 a2 b1", "textual_inversion: b2 c1 c2"]


def test_a_failed_learning_leaves_the_others_of_its_class(monkeypatch, study):
    study = with_learnings(study, num_learnings=3)
    learned, _ = personalize_in(monkeypatch, study, failing=("textual_inversion", "b1"))
    assert [(place, one) for place, one in zip(_places(learned), learned, strict=True) if one.error] == [
        (("textual_inversion", "b1", "loss is nan"), learned[4])
    ]
    assert [_short(one) for one in learned if one.technique == "lora"] == ["a", "a1", "a2", "b", "b2", "c", "c1", "c2"]
    assert study.run.load("concepts/b/learning-1/textual_inversion.json", Learned).error == "loss is nan"
    planned = [(tasks[0].source, tasks[0].learning) for tasks in plan_sets(study, "b", learned)]
    assert planned == [("raw", 0), ("latin_name", 0), ("token", 0), ("token", 2), ("lora", 0), ("lora", 2)]


def test_a_class_whose_first_learning_failed_still_has_the_others(monkeypatch, study):
    study = with_learnings(study, num_learnings=2)
    learned, _ = personalize_in(monkeypatch, study, failing=("textual_inversion", "a"))
    planned = [(tasks[0].source, tasks[0].learning) for tasks in plan_sets(study, "a", learned)]
    assert planned == [("raw", 0), ("token", 1), ("lora", 1)]


def test_what_a_learning_builds_on_is_of_the_same_learning(monkeypatch, study):
    study = with_learnings(study, num_learnings=2)
    learned, _ = personalize_in(monkeypatch, study)
    study.run.write_bytes("concepts/a/learning-1/textual_inversion.bin", b"changed")
    _, learning = personalize_in(monkeypatch, study)
    assert learning.asked == ["textual_inversion: a1"]
    techniques = {one.technique: one for one in learned if _short(one) == "a1"}
    task = plan_task(study, TECHNIQUES["lora"], "a", [techniques["textual_inversion"]], 1)
    assert study.run.load("concepts/a/learning-1/lora.json", Learned, task.key) == techniques["lora"]
    of_first = next(one for one in learned if (one.technique, _short(one)) == ("textual_inversion", "a"))
    assert plan_task(study, TECHNIQUES["lora"], "a", [of_first], 1).key != task.key


def test_keys_of_the_first_learning_are_those_of_a_run_without_others(study):
    for technique in TECHNIQUES:
        first = plan_task(study, technique, "b", [])
        assert plan_task(with_learnings(study, num_learnings=4), technique, "b", []) == first
        others = [plan_task(with_learnings(study, num_learnings=4), technique, "b", [], k) for k in (1, 2)]
        assert len({first.key, *(other.key for other in others)}) == 3
        for k, other in enumerate(others, start=1):
            assert other == dataclasses.replace(first, key=other.key, learning=k)


def test_learnings_of_another_draw_see_its_images(study):
    spare = tuple(Record(f"spare/{i}", 1, "train", f"spare/{i}.png") for i in range(40))
    spares = SpareImages(records={"b": spare}, sha256={"b": "s"})
    study = dataclasses.replace(with_learnings(study, num_draws=2, num_learnings=2), spare=spares)
    tasks = [plan_task(study, TECHNIQUES["textual_inversion"], "b", [], k) for k in range(4)]
    assert tasks[0].addresses == tasks[1].addresses
    assert tasks[2].addresses == tasks[3].addresses == tuple(r.address for r in study.drawn_images("b", 1))
    assert set(tasks[2].addresses) & {record.address for record in spare}
    assert len({task.key for task in tasks}) == 4
