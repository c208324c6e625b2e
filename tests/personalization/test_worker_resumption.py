"""Workers that are lost: classes go on from their checkpoints, alone or in a batch, and end at the same bits."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from small_worker import CLASS_NAME, CONFIG, loaded, rows_of, task_of, worker_on

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig
from flowerti.personalization import trainer
from flowerti.personalization.worker import LearningTask, Worker

CHECKPOINT = "concepts/sword_lily/checkpoints/textual_inversion.safetensors"
CHILD = """
import json, sys, time
from flowerti.personalization import trainer
from flowerti.personalization.worker import LearningTask, Origin, Worker
from flowerti.config.experiment import BaseConfig, TextualInversionConfig
from flowerti.artifacts.run_directory import RunDirectory

seeds, real_draw = [], trainer.draw

def draw_and_hang_in_the_eighth_step(data, batch_size, num_timesteps, seed):
    seeds.append(seed)
    if len(set(seeds)) == 8:  # one a step
        time.sleep(3600)
    return real_draw(data, batch_size, num_timesteps, seed)

trainer.draw = draw_and_hang_in_the_eighth_step
base, config, run, task = json.loads(sys.argv[1])
task["addresses"] = tuple(task["addresses"])
origin = Origin(base=BaseConfig(**base), base_sha256="b" * 64, run=RunDirectory(run))
Worker("textual_inversion", TextualInversionConfig(**config), origin, 1, "cpu").learn(LearningTask(**task))
"""


class LostWorker(Exception):
    pass


def _break_after(monkeypatch: pytest.MonkeyPatch, num_checkpoints: int) -> None:
    real, written = Worker._save_checkpoint, []

    def save_then_break(self, task, state) -> None:
        real(self, task, state)
        written.append(state.step)
        if len(written) == num_checkpoints:
            raise LostWorker

    monkeypatch.setattr(Worker, "_save_checkpoint", save_then_break)


def _broken_run(tiny_base: Path, run: RunDirectory, task: LearningTask, monkeypatch) -> None:
    with monkeypatch.context() as patched:
        _break_after(patched, 3)
        with pytest.raises(LostWorker):
            worker_on(tiny_base, run).learn(task)
    assert run.names("concepts") == [CHECKPOINT]


def test_a_new_worker_goes_on_from_the_checkpoint_and_ends_at_the_same_bits(
    tiny_base, run, task, tmp_path, monkeypatch
):
    whole_run = RunDirectory(str(tmp_path / "whole"))
    whole = worker_on(tiny_base, whole_run).learn(task)
    _broken_run(tiny_base, run, task, monkeypatch)
    steps_taken = []
    real_draw = trainer.draw
    monkeypatch.setattr(trainer, "draw", lambda *args: steps_taken.append(args[1]) or real_draw(*args))
    resumed = worker_on(tiny_base, run).learn(task)
    assert steps_taken.count(CONFIG.batch_size) == 4
    assert torch.equal(rows_of(run, resumed), rows_of(whole_run, whole))
    assert dataclasses.replace(resumed, seconds=0.0) == dataclasses.replace(whole, seconds=0.0)


def test_a_checkpoint_of_another_key_is_not_gone_on_from(tiny_base, run, task, tmp_path, monkeypatch):
    _broken_run(tiny_base, run, task, monkeypatch)
    other = dataclasses.replace(task, key="other", addresses=task.addresses[:2])
    elsewhere = RunDirectory(str(tmp_path / "elsewhere"))
    learned = worker_on(tiny_base, run).learn(other)
    assert learned.files == worker_on(tiny_base, elsewhere).learn(other).files


def test_with_a_damaged_checkpoint_the_class_is_learnt_from_the_start(tiny_base, run, task, tmp_path, monkeypatch):
    _broken_run(tiny_base, run, task, monkeypatch)
    run.write_bytes(CHECKPOINT, run.read_bytes(CHECKPOINT)[:-10])
    learned = worker_on(tiny_base, run).learn(task)
    elsewhere = RunDirectory(str(tmp_path / "elsewhere"))
    assert learned.files == worker_on(tiny_base, elsewhere).learn(task).files
    assert not run.exists(CHECKPOINT)


def _step_of_checkpoint(run: RunDirectory) -> int:
    if not run.exists(CHECKPOINT):
        return 0
    with safe_open(run.path(CHECKPOINT), "pt") as opened:
        return int(opened.metadata()["step"])


def _kill_in_the_middle(run: RunDirectory, arguments: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, arguments], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 600
    try:
        while _step_of_checkpoint(run) < 6:
            assert child.poll() is None, child.stderr and child.stderr.read().decode()
            assert time.monotonic() < deadline, "no checkpoint in ten minutes"
            time.sleep(0.05)
        time.sleep(0.2)  # into the next step
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == -signal.SIGKILL


def test_a_killed_process_loses_nothing(tiny_base, run, task, tmp_path):
    base = dataclasses.asdict(BaseConfig(path=str(tiny_base)))
    arguments = json.dumps([base, dataclasses.asdict(CONFIG), run.uri, dataclasses.asdict(task)])
    _kill_in_the_middle(run, arguments)
    assert loaded(run, CLASS_NAME) is None
    assert _step_of_checkpoint(run) == 6
    resumed = worker_on(tiny_base, run).learn(task)
    whole = worker_on(tiny_base, RunDirectory(str(tmp_path / "whole"))).learn(task)
    assert dataclasses.replace(resumed, seconds=0.0) == dataclasses.replace(whole, seconds=0.0)
    assert sorted(path.name for path in Path(run.uri).rglob("*") if path.is_file()) == [
        "learned_embeds.safetensors",
        "sword_lily.safetensors",
        "textual_inversion.json",
    ]


def test_a_batch_of_classes_that_is_broken_off_goes_on_where_it_was(tiny_base, run, task, tmp_path, monkeypatch):
    tasks = [task_of(task, "rose", 5), task_of(task, "azalea", 3)]
    whole = RunDirectory(str(tmp_path / "whole"))
    expected = worker_on(tiny_base, whole).learn_together(tasks)
    real_save, num_saved = Worker._save_checkpoint, []

    def save_and_break(self, one, state):
        real_save(self, one, state)
        num_saved.append(one.class_name)
        if len(num_saved) == 6:
            raise LostWorker

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_save_checkpoint", save_and_break)
        with pytest.raises(LostWorker):
            worker_on(tiny_base, run).learn_together(tasks)
    resumed = worker_on(tiny_base, run).learn_together(tasks)
    for ours, theirs in zip(resumed, expected, strict=True):
        assert torch.equal(rows_of(run, ours), rows_of(whole, theirs))
        assert ours.loss_curve == theirs.loss_curve
