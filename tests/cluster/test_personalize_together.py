"""What is learnt for all classes together: of which classes, under which key, and which images it serves."""

import dataclasses
from pathlib import Path

import pytest
from small_study import SELECTION, Learning, census_of, image_file, personalize_in, study_in, with_learnings
from test_fan_out import _Ray, _short

from flowerti.artifacts.records import Learned, Selection
from flowerti.cluster import fan_out
from flowerti.cluster import personalize as stage
from flowerti.cluster.personalize import personalize, plan_joint_task, spec_of
from flowerti.cluster.sample import plan_sets
from flowerti.config.experiment import (
    BaseConfig,
    ReplicationConfig,
    SamplingConfig,
    SharedLoraConfig,
    TextualInversionConfig,
    to_json,
)
from flowerti.config.techniques import TECHNIQUES
from flowerti.data.dataset import Record
from flowerti.generation.sampler import Sampler
from flowerti.personalization.worker import Worker
from flowerti.progress import Progress
from flowerti.status import StageState, read_status
from flowerti.study import Study

SHARED = TECHNIQUES["shared_lora"]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = study_in(tmp_path)
    sampling = SamplingConfig(sources=("raw", "token", "shared_lora"))
    return dataclasses.replace(study, experiment=dataclasses.replace(study.experiment, sampling=sampling))


def _shared(learned: list[Learned]) -> list[Learned]:
    return [one for one in learned if one.technique == "shared_lora"]


def _sources(study: Study, class_name: str, learned: list[Learned]) -> list[tuple[str, int]]:
    return [(tasks[0].source, tasks[0].learning) for tasks in plan_sets(study, class_name, learned)]


def test_all_classes_are_one_task_after_their_tokens_and_each_is_drawn_with_its_own(monkeypatch, study):
    learned, learning = personalize_in(monkeypatch, study)
    assert learning.asked == ["textual_inversion: a b c", "shared_lora: @all"]
    (shared,) = _shared(learned)
    assert (shared.class_name, shared.classes) == ("@all", ["a", "b", "c"])
    assert study.run.load("concepts/@all/shared_lora.json", Learned) == shared
    for name in "abc":
        tasks = {of_set[0].source: of_set[0] for of_set in plan_sets(study, name, learned)}
        assert list(tasks) == ["raw", "token", "shared_lora"]
        assert tasks["shared_lora"].words == f"<{name}>"
    again, learning = personalize_in(monkeypatch, study)
    assert (again, learning.asked, learning.worked) == (learned, [], [])


def test_the_task_holds_the_training_images_by_class(study):
    task = plan_joint_task(study, SHARED, {"b": [], "a": []})
    assert [(one.class_name, one.addresses) for one in task.together] == [
        (name, tuple(record.address for record in study.dataset.of("train", name))) for name in "ba"
    ]
    assert (task.num_images, task.label) == (4, "all classes")
    assert task.key != plan_joint_task(study, SHARED, {"a": [], "b": []}).key, "the order counts"
    assert task.key != plan_joint_task(study, SHARED, {"b": []}).key


def test_a_class_whose_token_failed_is_left_out(monkeypatch, study):
    whole, _ = personalize_in(monkeypatch, study)
    for name in study.run.names("concepts"):
        study.run.delete(name)
    learned, _ = personalize_in(monkeypatch, study, failing=("textual_inversion", "b"))
    (shared,) = _shared(learned)
    assert shared.classes == ["a", "c"]
    assert shared.files != _shared(whole)[0].files, "its key says so"
    assert _sources(study, "b", learned) == [("raw", 0)]
    assert _sources(study, "c", learned) == [("raw", 0), ("token", 0), ("shared_lora", 0)]


def test_without_any_token_nothing_is_learnt_together(monkeypatch, study):
    only = Selection(selected=SELECTION.selected[:1], by_evidence=[])
    monkeypatch.setattr("small_study.SELECTION", only)
    learned, learning = personalize_in(monkeypatch, study, failing=("textual_inversion", "a"))
    assert learning.asked == ["textual_inversion: a"]
    assert _shared(learned) == []


def test_a_failure_is_one_record_and_leaves_the_tokens_images(monkeypatch, study):
    learned, _ = personalize_in(monkeypatch, study, failing=("shared_lora", "@all"))
    (failed,) = [one for one in learned if one.error]
    assert (failed.class_name, failed.classes, failed.error) == ("@all", ["a", "b", "c"], "loss is nan")
    for name in "abc":
        assert _sources(study, name, learned) == [("raw", 0), ("token", 0)]


def test_an_image_or_a_token_more_in_one_class_is_another_adapter_for_all(monkeypatch, study, tmp_path):
    personalize_in(monkeypatch, study)
    study.run.write_bytes("concepts/a/textual_inversion.bin", b"changed")
    _, learning = personalize_in(monkeypatch, study)
    assert learning.asked == ["textual_inversion: a"], "the same token again"
    extra = Record(id="c9", address=image_file(tmp_path, "c9.png", 99), class_id=2, split="train")
    census = census_of([*study.dataset.records, extra], "another")
    dataset = dataclasses.replace(study.dataset, records=(*study.dataset.records, extra))
    changed = dataclasses.replace(study, dataset=dataset, census=census)
    learned, learning = personalize_in(monkeypatch, changed)
    assert learning.asked == ["textual_inversion: c", "shared_lora: @all"]
    keys = [
        {tasks[0].source: tasks[0].key for tasks in plan_sets(changed, "a", records)}
        for records in (learned, [*learned[:-1], dataclasses.replace(learned[-1], files={"x": "other"})])
    ]
    assert {source for source in keys[0] if keys[0][source] != keys[1][source]} == {"shared_lora"}


def test_each_learning_has_a_result_of_its_own_tokens(monkeypatch, study):
    study = with_learnings(study, num_learnings=2)
    learned, learning = personalize_in(monkeypatch, study, failing=("textual_inversion", "b1"))
    assert learning.asked[-2:] == ["shared_lora: @all", "shared_lora: @all1"]
    assert [(_short(one), one.classes) for one in _shared(learned)] == [
        ("@all", ["a", "b", "c"]), ("@all1", ["a", "c"]),
    ]  # fmt: skip
    assert study.run.exists("concepts/@all/learning-1/shared_lora.json")
    assert _sources(study, "b", learned) == [("raw", 0), ("token", 0), ("shared_lora", 0)]
    assert ("shared_lora", 1) in _sources(study, "a", learned)
    first = plan_joint_task(with_learnings(study, num_learnings=1), SHARED, {"a": [], "b": []})
    second = plan_joint_task(study, SHARED, {"a": [], "b": []}, 1)
    assert second == dataclasses.replace(first, key=second.key, learning=1) and second.key != first.key


def test_workers_learn_what_the_stage_plans_and_images_are_drawn_from_it(monkeypatch, study, make_tiny_base):
    """With real workers and a real sampler in this process, up to the images of two learnings."""
    schedule = {"num_steps": 4, "batch_size": 2, "num_eval_latents": 4, "eval_every_steps": 2}
    experiment = dataclasses.replace(
        study.experiment,
        base=BaseConfig(path=str(make_tiny_base(text_gain=8.0))),
        data=dataclasses.replace(study.experiment.data, image_size_px=32),
        replication=ReplicationConfig(num_learnings=2),
        techniques={
            "textual_inversion": TextualInversionConfig(num_vectors=2, **schedule),
            "shared_lora": SharedLoraConfig(rank=2, learning_rate=0.05, **schedule),
        },
        sampling=SamplingConfig(sources=("token", "shared_lora"), num_per_class=2, batch_size=2, num_inference_steps=2),
    )
    study = dataclasses.replace(study, experiment=experiment)
    names = ("textual_inversion", "shared_lora")
    workers = {name: Worker(*spec_of(study, TECHNIQUES[name]).arguments, 1, "cpu") for name in names}
    monkeypatch.setattr(fan_out, "ray", _Ray(lambda group: workers[group[0].technique].learn_together(group)))
    monkeypatch.setattr(stage, "connect", lambda config: None)
    learned = personalize(study, SELECTION, Learning(study, ("", "")).progress_for)
    assert [one.error for one in learned] == [""] * 8
    assert [(_short(one), one.num_images) for one in _shared(learned)] == [("@all", 6), ("@all1", 6)]
    sampler = Sampler(experiment.base, experiment.sampling, study.run, 1, "cpu")
    files = [sampler.write(tasks[0]) for name in "abc" for tasks in plan_sets(study, name, learned)]
    assert files == [
        f"synthetic/{name}.{source}{learning}.000000.parquet"
        for name in "abc"
        for source in ("token", "shared_lora")
        for learning in ("", ".learning-1")
    ]
    lines = {line.stage: line.state for line in _learned_lines(study)}
    assert lines["shared_lora all classes"] == lines["shared_lora all classes (learning 1)"] == "done"


def _learned_lines(study: Study) -> list[StageState]:
    study.run.write_bytes("config.json", to_json(study.experiment).encode())
    study.run.save("selection.json", SELECTION, "k")
    return read_status(study.run)


def test_it_is_announced_with_the_number_of_its_classes(study):
    told: list[str] = []
    progress = Progress("personalize.shared_lora", [lambda event: told.append(event.text)])
    twice = with_learnings(study, num_learnings=2)
    tasks = [plan_joint_task(twice, SHARED, {"a": [], "b": []}, k) for k in (0, 1)]
    stage._announce(SHARED, tasks, progress)
    assert told == ["learning the shared adapters of 2 classes together, 2 learnings"]
