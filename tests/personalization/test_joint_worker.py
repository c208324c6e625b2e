"""A worker that learns classes together: what it stores and where, what it resumes from, and how it is applied."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from flowerti.artifacts.identity import ALL_CLASSES
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, ScheduleConfig, SharedLoraConfig, TextualInversionConfig
from flowerti.config.techniques import TECHNIQUES
from flowerti.diffusion import load_base
from flowerti.personalization import trainer
from flowerti.personalization.encoding import encode_prompts
from flowerti.personalization.joint import with_each_token
from flowerti.personalization.lora.layers import unet_layers
from flowerti.personalization.low_rank import read_adapter
from flowerti.personalization.store import applied, load_learned, require_learned, save_learned
from flowerti.personalization.technique import implementation_of
from flowerti.personalization.worker import ClassImages, LearningTask, Origin, Worker

NAMES = ("rose", "sword lily")
FOLDER = "concepts/@all"
CONFIG = SharedLoraConfig(
    rank=2, num_steps=10, batch_size=4, learning_rate=2e-2, eval_every_steps=5, num_eval_latents=8,
    checkpoint_every_steps=2,
)  # fmt: skip
TOKENS = TextualInversionConfig(num_vectors=2, num_steps=4, batch_size=4, num_eval_latents=8, eval_every_steps=2)


@pytest.fixture(scope="module")
def vivid_base(make_tiny_base) -> Path:
    return make_tiny_base(text_gain=8.0)


def worker(base: Path, run: RunDirectory, config: ScheduleConfig = CONFIG) -> Worker:
    origin = Origin(base=BaseConfig(path=str(base)), base_sha256="b" * 64, run=run)
    return Worker(config.section, config, origin, 1, "cpu")


@pytest.fixture(scope="module")
def learnt(vivid_base, images, tmp_path_factory) -> tuple[RunDirectory, LearningTask]:
    """A run directory with the tokens of two classes, and the task of an adapter for both."""
    folder = tmp_path_factory.mktemp("learnt")
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    of_classes = [
        ClassImages(class_name=name, addresses=tuple(str(folder / f"{i}.png") for i in numbers))
        for name, numbers in zip(NAMES, [(0, 1), (2, 3, 4)], strict=True)
    ]
    run = RunDirectory(str(folder / "run"))
    task = LearningTask(
        technique="shared_lora", class_name=ALL_CLASSES, together=tuple(of_classes), image_size_px=32, run_seed=5,
        key="k" * 64,
    )  # fmt: skip
    tokens = [
        dataclasses.replace(
            task, technique="textual_inversion", class_name=one.class_name, addresses=one.addresses, together=()
        )
        for one in of_classes
    ]
    for record in worker(vivid_base, run, TOKENS).learn_together(tokens):
        assert not record.error
    return run, task


def copied(run: RunDirectory, folder: Path) -> RunDirectory:
    copy = RunDirectory(str(folder))
    for name in run.names("concepts"):
        copy.write_bytes(name, run.read_bytes(name))
    return copy


@pytest.fixture
def run(learnt, tmp_path) -> RunDirectory:
    return copied(learnt[0], tmp_path / "run")


def test_one_result_is_stored_for_all_classes_in_a_folder_of_its_own(vivid_base, learnt, run):
    before = set(run.names("concepts"))
    stored = worker(vivid_base, run).learn(learnt[1])
    assert set(run.names("concepts")) - before == {
        f"{FOLDER}/pytorch_lora_weights.safetensors", f"{FOLDER}/shared_lora.json",
    }  # fmt: skip
    record = json.loads(run.read_bytes(f"{FOLDER}/shared_lora.json"))
    assert (record["class_name"], record["classes"], record["num_images"]) == ("@all", list(NAMES), 5)
    assert (record["token"], record["num_vectors"], record["details"]["rank"]) == ("", 0, 2)
    assert [point["step"] for point in record["loss_curve"]] == [0, 5, 10]
    assert record["best_step"] > 0
    assert load_learned(run, ALL_CLASSES, "shared_lora", learnt[1].key) == stored
    assert [stored.is_of(name) for name in (*NAMES, "azalea", ALL_CLASSES)] == [True, True, False, False]


class _LostWorker(BaseException):
    pass


def test_a_lost_worker_s_successor_ends_at_the_same_bits(vivid_base, learnt, run, tmp_path, monkeypatch):
    task, whole_run = learnt[1], copied(learnt[0], tmp_path / "whole")
    whole = worker(vivid_base, whole_run).learn(task)
    real, written = Worker._save_checkpoint, []

    def save_then_break(self, one, state) -> None:
        real(self, one, state)
        written.append(state.step)
        if len(written) == 3:
            raise _LostWorker

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "_save_checkpoint", save_then_break)
        with pytest.raises(_LostWorker):
            worker(vivid_base, run).learn(task)
    assert run.exists(f"{FOLDER}/checkpoints/shared_lora.safetensors")
    steps, real_step = [], trainer.take_step
    monkeypatch.setattr(trainer, "take_step", lambda *args: steps.append(1) or real_step(*args))
    resumed = worker(vivid_base, run).learn(task)
    assert len(steps) == 4
    assert dataclasses.replace(resumed, seconds=0.0) == dataclasses.replace(whole, seconds=0.0)
    file = f"{FOLDER}/pytorch_lora_weights.safetensors"
    assert run.read_bytes(file) == whole_run.read_bytes(file)


def test_each_class_has_its_own_token_and_the_adapter_of_all(vivid_base, learnt, run):
    base = load_base(vivid_base, "float32", "cpu")
    with (
        pytest.raises(ValueError, match=r"'all classes': shared_lora has not finished in .* run the stage personalize"),
        applied(base, run, NAMES[0], "shared_lora"),
    ):
        pass
    worker(vivid_base, run).learn(learnt[1])
    adapter = read_adapter(unet_layers(base.unet), run.read_bytes(f"{FOLDER}/pytorch_lora_weights.safetensors"))
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    layer = base.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2.to_q")
    inputs, rank = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(1)), CONFIG.rank
    rest, begin = iter(unet_layers(base.unet).items()), 0
    while (found := next(rest))[1] is not layer:
        begin += rank * (found[1].in_features + found[1].out_features)
    down = adapter[0, begin : begin + rank * layer.in_features].view(rank, -1)
    up = adapter[0, begin + rank * layer.in_features :][: rank * layer.out_features].view(-1, rank)
    with torch.no_grad():
        by_hand = layer(inputs) + inputs @ down.T @ up.T
        predicted = []
        for name, token in zip(NAMES, ("<rose>", "<sword_lily>"), strict=True):
            with applied(base, run, name, "textual_inversion") as with_token:
                states = encode_prompts(with_token, [f"a {token}"]).hidden
                plain = base.unet(noisy, 500, states).sample
            with applied(base, run, name, "shared_lora") as with_both:
                assert with_both.token == token
                assert torch.equal(encode_prompts(with_both, [f"a {token}"]).hidden, states), "its own rows"
                torch.testing.assert_close(layer(inputs), by_hand, rtol=0, atol=1e-6)
                predicted.append(base.unet(noisy, 500, states).sample)
            assert (predicted[-1] - plain).abs().max() > 1e-3
            assert torch.equal(base.unet(noisy, 500, states).sample, plain), "taken off again"
    assert not torch.equal(*predicted)


def test_another_learning_stands_on_its_own_tokens_and_a_class_without_one_is_named(vivid_base, learnt, run):
    task = dataclasses.replace(learnt[1], learning=1)

    def learn_again(name):
        """The same token as another learning."""
        content = require_learned(run, name, "textual_inversion")
        save_learned(run, dataclasses.replace(content.learned, learning=1), content.files, key="the same")

    learn_again("rose")
    (failed,) = worker(vivid_base, run).learn_together([task])
    assert "class 'sword lily (learning 1)': textual_inversion has not finished" in failed.error
    assert (failed.class_name, failed.classes) == (ALL_CLASSES, list(NAMES))
    learn_again("sword lily")
    stored = worker(vivid_base, run).learn(task)
    assert run.exists(f"{FOLDER}/learning-1/shared_lora.json") and not run.exists(f"{FOLDER}/shared_lora.json")
    assert load_learned(run, ALL_CLASSES, "shared_lora", task.key, learning=1) == stored


def test_a_class_without_images_is_named(vivid_base, learnt, run):
    empty = dataclasses.replace(learnt[1].together[1], addresses=())
    task = dataclasses.replace(learnt[1], together=(learnt[1].together[0], empty))
    (failed,) = worker(vivid_base, run).learn_together([task])
    assert failed.error == "class 'sword lily' has no training image: it cannot be learnt"


def test_classes_are_learnt_together_on_tokens_alone(vivid_base, run):
    """Networks that are changed for one class cannot be changed for another at once."""
    with pytest.raises(ValueError, match="classes can be learnt together on tokens alone"):
        with_each_token(load_base(vivid_base, "float32", "cpu"), run, NAMES, "lora", 0)


def test_what_cannot_work_is_refused_in_one_line(vivid_base):
    code = implementation_of(TECHNIQUES["shared_lora"])
    code.check(vivid_base, CONFIG)
    with pytest.raises(ValueError, match=r"^shared_lora\.rank: 4096 is more than the smallest layer of the base has"):
        code.check(vivid_base, SharedLoraConfig(rank=4096))
    with pytest.raises(ValueError, match="technique 'shared_lora': needs must name what tells the classes apart"):
        dataclasses.replace(TECHNIQUES["shared_lora"], needs="")
