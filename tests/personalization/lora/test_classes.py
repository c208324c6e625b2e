import dataclasses
import hashlib
import json

import pytest
from PIL import Image

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, LoraConfig, TextualInversionConfig
from flowerti.personalization import trainer as engine
from flowerti.personalization.lora import classes
from flowerti.personalization.lora.classes import (
    AdapterLearner,
    adapter_key,
    load_adapter,
    load_parameters,
    store_failure,
    weights_file,
)
from flowerti.personalization.lora.low_rank import adapter_bytes
from flowerti.personalization.worker import InversionTask, Inverter

CLASS_NAME = "sword lily"
FOLDER = "concepts/sword_lily"
CHECKPOINT = f"{FOLDER}/checkpoints/adapter.safetensors"
CONFIG = LoraConfig(
    rank=2, num_steps=10, batch_size=4, learning_rate=1e-2, num_eval_latents=8, eval_every_steps=5,
    checkpoint_every_steps=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def learnt(tiny_base, images, tmp_path_factory) -> tuple[RunDirectory, tuple[str, ...]]:
    """A run directory with a token, and the images that it was learnt from."""
    folder = tmp_path_factory.mktemp("learnt")
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    addresses = tuple(str(folder / f"{i}.png") for i in range(len(images)))
    run = RunDirectory(str(folder / "run"))
    config = TextualInversionConfig(num_vectors=2, num_steps=4, batch_size=4, num_eval_latents=8, eval_every_steps=2)
    task = InversionTask(class_name=CLASS_NAME, addresses=addresses, image_size_px=32, run_seed=5, key="token")
    Inverter(BaseConfig(path=str(tiny_base)), "b" * 64, config, run, 1, "cpu").learn(task)
    return run, addresses


@pytest.fixture
def run(learnt, tmp_path) -> RunDirectory:
    copy = RunDirectory(str(tmp_path / "run"))
    for name in learnt[0].names("concepts"):
        copy.write_bytes(name, learnt[0].read_bytes(name))
    return copy


@pytest.fixture
def task(learnt) -> InversionTask:
    return InversionTask(class_name=CLASS_NAME, addresses=learnt[1], image_size_px=32, run_seed=5, key="k" * 64)


def _learner(tiny_base, run: RunDirectory) -> AdapterLearner:
    return AdapterLearner(BaseConfig(path=str(tiny_base)), CONFIG, run, 1, "cpu")


def test_an_adapter_is_stored_with_its_record(tiny_base, base, run, task):
    adapter = _learner(tiny_base, run).learn(task)
    content = run.read_bytes(f"{FOLDER}/pytorch_lora_weights.safetensors")
    assert weights_file(CLASS_NAME) == f"{FOLDER}/pytorch_lora_weights.safetensors"
    record = json.loads(run.read_bytes(f"{FOLDER}/adapter.json"))
    assert (record["key"], record["rank"], record["num_images"], record["num_steps"]) == (task.key, 2, 5, 10)
    assert record["weights_sha256"] == hashlib.sha256(content).hexdigest()
    assert [point["step"] for point in record["loss_curve"]] == [0, 5, 10]
    assert record["best_step"] == min(record["loss_curve"], key=lambda point: point["loss"])["step"] > 0
    parameters = load_parameters(run, CLASS_NAME, base.unet)
    assert parameters.numel() == record["num_parameters"]
    assert adapter_bytes(base.unet, parameters) == content
    assert not run.exists(CHECKPOINT)
    assert load_adapter(run, CLASS_NAME, task.key) == adapter


def test_an_adapter_counts_only_with_its_key_and_its_weights(tiny_base, base, run, task):
    assert load_adapter(run, CLASS_NAME) is None
    with pytest.raises(ValueError, match="class 'sword lily': no finished adapter"):
        load_parameters(run, CLASS_NAME, base.unet)
    _learner(tiny_base, run).learn(task)
    assert load_adapter(run, CLASS_NAME, "other") is None
    content = run.read_bytes(weights_file(CLASS_NAME))
    run.write_bytes(weights_file(CLASS_NAME), content[:-1] + bytes([content[-1] ^ 1]))
    assert load_adapter(run, CLASS_NAME) is None


class _LostWorker(BaseException):
    pass


def _learn_until(monkeypatch, learner: AdapterLearner, task: InversionTask, num_checkpoints: int) -> None:
    written, real = [], classes.checkpoints.to_bytes

    def break_after(*args):
        if len(written) == num_checkpoints:
            raise _LostWorker
        written.append(1)
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(classes.checkpoints, "to_bytes", break_after)
        with pytest.raises(_LostWorker):
            learner.learn(task)


def test_a_lost_worker_s_successor_ends_at_the_same_bits(tiny_base, run, task, tmp_path, monkeypatch):
    whole_run = RunDirectory(str(tmp_path / "whole"))
    for name in run.names("concepts"):
        whole_run.write_bytes(name, run.read_bytes(name))
    whole = _learner(tiny_base, whole_run).learn(task)
    _learn_until(monkeypatch, _learner(tiny_base, run), task, num_checkpoints=3)
    assert run.exists(CHECKPOINT)
    steps, real = [], engine.take_step
    monkeypatch.setattr(engine, "take_step", lambda *args: steps.append(1) or real(*args))
    resumed = _learner(tiny_base, run).learn(task)
    assert len(steps) == 4
    assert dataclasses.replace(resumed, seconds=0.0) == dataclasses.replace(whole, seconds=0.0)
    assert run.read_bytes(weights_file(CLASS_NAME)) == whole_run.read_bytes(weights_file(CLASS_NAME))


def test_a_class_that_fails_comes_back_with_its_reason_and_the_others_are_learnt(tiny_base, run, task):
    run.write_bytes("concepts/rose/checkpoints/adapter.safetensors", b"not a checkpoint")
    for name in run.names(FOLDER):
        renamed = run.read_bytes(name).replace(b"sword lily", b"rose").replace(b"<sword_lily>", b"<rose>")
        run.write_bytes(name.replace("sword_lily", "rose"), renamed)
    embeddings = "concepts/rose/learned_embeds.safetensors"
    run.write_bytes(embeddings, run.read_bytes(f"{FOLDER}/learned_embeds.safetensors"))
    tasks = [dataclasses.replace(task, class_name=name) for name in ("azalea", "rose", CLASS_NAME)]
    no_token, damaged, fine = _learner(tiny_base, run).learn_together(tasks)
    assert [a.class_name for a in (no_token, damaged, fine)] == ["azalea", "rose", "sword lily"]
    assert "class 'azalea': no finished token" in no_token.error
    assert "adapter.safetensors is damaged" in damaged.error
    assert "delete it" in damaged.error
    assert fine == load_adapter(run, CLASS_NAME, task.key)


def test_a_failure_is_written_down_and_is_no_adapter(run, task):
    failed = store_failure(run, task, "no image")
    record = json.loads(run.read_bytes(f"{FOLDER}/adapter.json"))
    assert (record["key"], record["error"], failed.error) == (task.key, "no image", "no image")
    assert load_adapter(run, CLASS_NAME, task.key) is None


def test_only_what_matters_enters_the_key():
    base = BaseConfig(path="demo")
    key = adapter_key(CONFIG, base, "token")
    assert key == adapter_key(dataclasses.replace(CONFIG, checkpoint_every_steps=7), base, "token")
    others = [
        adapter_key(dataclasses.replace(CONFIG, rank=3), base, "token"),
        adapter_key(CONFIG, dataclasses.replace(base, dtype="bfloat16"), "token"),
        adapter_key(CONFIG, base, "another token"),
    ]
    assert len({key, *others}) == 4
