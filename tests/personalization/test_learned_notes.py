"""What notes say of results is what the run directory holds, and a result that is noted is not read again."""

import dataclasses
from pathlib import Path

import pytest

from flowerti.artifacts.records import Learned, LossPoint
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.personalization import learned_notes
from flowerti.personalization.learned_notes import LearnedNotes
from flowerti.personalization.store import load_learned, save_learned, store_failure
from flowerti.personalization.worker import LearningTask


def task_of(name: str, key: str = "k", learning: int = 0) -> LearningTask:
    return LearningTask(
        technique="lora", class_name=name, addresses=("a",), image_size_px=8, run_seed=0, key=key, learning=learning
    )


def learn(run: RunDirectory, task: LearningTask) -> Learned:
    record = Learned(
        class_name=task.class_name,
        technique=task.technique,
        learning=task.learning,
        loss_curve=[LossPoint(step=0, loss=0.5, seconds=1.5)],
        details={"rank": 4, "strength": 0.5, "whole": 2.0},
    )
    return save_learned(run, record, {"lora.safetensors": task.class_name.encode()}, task.key)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A folder that is taken for an object store: on a disk every record is read."""
    monkeypatch.setattr(learned_notes, "stamps_suffice", lambda run: True)
    return RunDirectory(str(tmp_path))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Classes whose records are read, as they come."""
    names: list[str] = []

    def load(run: RunDirectory, class_name: str, *more: object) -> Learned | None:
        names.append(class_name)
        return load_learned(run, class_name, *more)

    monkeypatch.setattr(learned_notes, "load_learned", load)
    return names


def test_each_record_is_read_once_and_comes_back_as_it_was(run: RunDirectory, read: list[str]):
    tasks = [task_of("a"), task_of("b", learning=1), task_of("c")]
    stored = [learn(run, task) for task in tasks[:2]]
    for _ in range(2):
        assert LearnedNotes(run).load(tasks) == [*stored, None]
    assert sorted(read) == ["a", "b"]
    assert LearnedNotes(run).load([task_of("a", key="other")]) == [None]


def test_what_workers_have_just_learnt_is_not_read(run: RunDirectory, read: list[str]):
    tasks = [task_of("a"), task_of("b")]
    notes = LearnedNotes(run)
    assert notes.load(tasks) == [None, None]
    done = [learn(run, tasks[0]), store_failure(run, tasks[1].failed("loss is nan"), "k")]
    notes.learnt(zip(tasks, done, strict=True))
    assert LearnedNotes(run).load(tasks) == [done[0], None], "a failure is tried again"
    assert read == ["b"]


@pytest.mark.parametrize("change", ["file", "record", "missing file"])
def test_a_result_that_was_changed_is_read_again(change: str, run: RunDirectory, read: list[str]):
    stored = learn(run, task_of("a"))
    LearnedNotes(run).load([task_of("a")])
    read.clear()
    if change == "record":
        changed = dataclasses.replace(stored, num_steps=7)
        run.save("concepts/a/lora.json", changed, "k")
        assert LearnedNotes(run).load([task_of("a")]) == [changed]
    else:
        if change == "file":
            run.write_bytes("concepts/a/lora.safetensors", b"b")
        else:
            run.delete("concepts/a/lora.safetensors")
        assert LearnedNotes(run).load([task_of("a")]) == [None]
    assert read == ["a"]
