import dataclasses
import hashlib
import json

import pytest
import torch
from PIL import Image

from flowerti.artifacts.records import Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, LoraConfig, ScheduleConfig, TextualInversionConfig
from flowerti.personalization import checkpoints, trainer, worker
from flowerti.personalization.lora.layers import unet_layers
from flowerti.personalization.lora.technique import LORA
from flowerti.personalization.low_rank import adapter_bytes, read_adapter
from flowerti.personalization.store import load_learned, require_learned, save_learned
from flowerti.personalization.textual_inversion.embedding_files import diffusers_bytes
from flowerti.personalization.worker import LearningTask, Origin, Worker

CLASS_NAME = "sword lily"
FOLDER = "concepts/sword_lily"
CHECKPOINT = f"{FOLDER}/checkpoints/lora.safetensors"
WEIGHTS = f"{FOLDER}/pytorch_lora_weights.safetensors"
CONFIG = LoraConfig(
    rank=2, num_steps=10, batch_size=4, learning_rate=1e-2, num_eval_latents=8, eval_every_steps=5,
    checkpoint_every_steps=2,
)  # fmt: skip


def _worker(tiny_base, run: RunDirectory, technique: str, config: ScheduleConfig) -> Worker:
    origin = Origin(base=BaseConfig(path=str(tiny_base)), base_sha256="b" * 64, run=run)
    return Worker(technique, config, origin, 1, "cpu")


def _task(technique: str, addresses: tuple[str, ...], key: str) -> LearningTask:
    return LearningTask(
        technique=technique, class_name=CLASS_NAME, addresses=addresses, image_size_px=32, run_seed=5, key=key
    )


@pytest.fixture(scope="module")
def learnt(tiny_base, images, tmp_path_factory) -> tuple[RunDirectory, tuple[str, ...]]:
    """A run directory with a token, and the images that it was learnt from."""
    folder = tmp_path_factory.mktemp("learnt")
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    addresses = tuple(str(folder / f"{i}.png") for i in range(len(images)))
    run = RunDirectory(str(folder / "run"))
    config = TextualInversionConfig(num_vectors=2, num_steps=4, batch_size=4, num_eval_latents=8, eval_every_steps=2)
    _worker(tiny_base, run, "textual_inversion", config).learn(_task("textual_inversion", addresses, "token"))
    return run, addresses


@pytest.fixture
def run(learnt, tmp_path) -> RunDirectory:
    copy = RunDirectory(str(tmp_path / "run"))
    for name in learnt[0].names("concepts"):
        copy.write_bytes(name, learnt[0].read_bytes(name))
    return copy


@pytest.fixture
def task(learnt) -> LearningTask:
    return _task("lora", learnt[1], "k" * 64)


def _learner(tiny_base, run: RunDirectory) -> Worker:
    return _worker(tiny_base, run, "lora", CONFIG)


def _load(run: RunDirectory, key: str | None = None) -> Learned | None:
    return load_learned(run, CLASS_NAME, "lora", key)


def test_an_adapter_is_stored_with_its_record(tiny_base, base, run, task):
    adapter = _learner(tiny_base, run).learn(task)
    content = run.read_bytes(WEIGHTS)
    record = json.loads(run.read_bytes(f"{FOLDER}/lora.json"))
    assert (record["key"], record["details"]) == (task.key, {"rank": 2, "bytes": len(content)})
    assert (record["num_images"], record["num_steps"], record["num_vectors"]) == (5, 10, 0)
    assert record["token"] == "<sword_lily>", "the one in its captions"
    assert record["files"] == {"pytorch_lora_weights.safetensors": hashlib.sha256(content).hexdigest()}
    assert [point["step"] for point in record["loss_curve"]] == [0, 5, 10]
    assert record["best_step"] == min(record["loss_curve"], key=lambda point: point["loss"])["step"] > 0
    parameters = read_adapter(unet_layers(base.unet), content)
    assert parameters.numel() == record["num_parameters"]
    assert adapter_bytes(unet_layers(base.unet), parameters) == content
    assert not run.exists(CHECKPOINT)
    assert _load(run, task.key) == adapter


class _LostWorker(BaseException):
    pass


def _learn_until(monkeypatch, learner: Worker, task: LearningTask, num_checkpoints: int) -> None:
    written, real = [], checkpoints.to_bytes

    def break_after(*args):
        if len(written) == num_checkpoints:
            raise _LostWorker
        written.append(1)
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "to_bytes", break_after)
        with pytest.raises(_LostWorker):
            learner.learn(task)


def test_a_lost_worker_s_successor_ends_at_the_same_bits(tiny_base, run, task, tmp_path, monkeypatch):
    whole_run = RunDirectory(str(tmp_path / "whole"))
    for name in run.names("concepts"):
        whole_run.write_bytes(name, run.read_bytes(name))
    whole = _learner(tiny_base, whole_run).learn(task)
    _learn_until(monkeypatch, _learner(tiny_base, run), task, num_checkpoints=3)
    assert run.exists(CHECKPOINT)
    steps, real = [], trainer.take_step
    monkeypatch.setattr(trainer, "take_step", lambda *args: steps.append(1) or real(*args))
    resumed = _learner(tiny_base, run).learn(task)
    assert len(steps) == 4
    assert dataclasses.replace(resumed, seconds=0.0) == dataclasses.replace(whole, seconds=0.0)
    assert run.read_bytes(WEIGHTS) == whole_run.read_bytes(WEIGHTS)


def test_a_class_that_fails_comes_back_with_its_reason_and_the_others_are_learnt(tiny_base, run, task):
    token = Learned(class_name="rose", technique="textual_inversion", token="<rose>", num_vectors=1)
    rows = diffusers_bytes("<rose>", torch.ones(1, 16), [16])
    save_learned(run, token, {"learned_embeds.safetensors": rows}, "token")
    addresses = {"azalea": task.addresses, "rose": (), CLASS_NAME: task.addresses}
    tasks = [dataclasses.replace(task, class_name=name, addresses=images) for name, images in addresses.items()]
    no_token, no_image, fine = _learner(tiny_base, run).learn_together(tasks)
    assert [a.class_name for a in (no_token, no_image, fine)] == ["azalea", "rose", "sword lily"]
    assert "class 'azalea': textual_inversion has not finished" in no_token.error
    assert "class 'rose' has no training image" in no_image.error
    assert fine == _load(run, task.key)


def test_an_adapter_is_learnt_on_the_token_of_its_own_learning(tiny_base, run, task, monkeypatch):
    token = dataclasses.replace(require_learned(run, CLASS_NAME, "textual_inversion").learned, learning=1)
    rows = torch.full((2, 16), 0.125)
    save_learned(run, token, {"learned_embeds.safetensors": diffusers_bytes("<sword_lily>", rows, [16])}, "token 1")
    used, real = [], LORA.losses
    spy = dataclasses.replace(LORA, losses=lambda base, data: used.append(base.token_rows) or real(base, data))
    monkeypatch.setattr(worker, "implementation_of", lambda technique: spy)
    tasks = [dataclasses.replace(task, learning=k) for k in (0, 1, 2)]
    first, second, third = _learner(tiny_base, run).learn_together(tasks)
    assert torch.equal(used[1], rows) and not torch.equal(used[0], rows)
    assert "class 'sword lily (learning 2)': textual_inversion has not finished" in third.error
    assert (first.error, second.error, second.learning, third.learning) == ("", "", 1, 2)
    other = run.read_bytes(f"{FOLDER}/learning-1/pytorch_lora_weights.safetensors")
    assert other != run.read_bytes(WEIGHTS)
