import dataclasses
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from flowerti.artifacts.layout import concept_folder
from flowerti.artifacts.records import Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, TextualInversionConfig
from flowerti.personalization import trainer, worker
from flowerti.personalization.encoding import token_of
from flowerti.personalization.store import load_learned, neighbours_among
from flowerti.personalization.textual_inversion.embedding_files import read_rows
from flowerti.personalization.worker import LearningTask, Origin, Worker

TECHNIQUE = "textual_inversion"
CONFIG = TextualInversionConfig(
    num_vectors=3, num_steps=10, batch_size=4, num_eval_latents=8, eval_every_steps=5, checkpoint_every_steps=2
)
CLASS_NAME = "sword lily"
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


@pytest.fixture
def task(images, tmp_path: Path) -> LearningTask:
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    addresses = tuple(str(folder / f"{i}.png") for i in range(len(images)))
    return LearningTask(
        technique=TECHNIQUE, class_name=CLASS_NAME, addresses=addresses, image_size_px=32, run_seed=5, key="k" * 64
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(str(tmp_path / "run"))


def _worker(tiny_base: Path, run: RunDirectory) -> Worker:
    origin = Origin(base=BaseConfig(path=str(tiny_base)), base_sha256="b" * 64, run=run)
    return Worker(TECHNIQUE, CONFIG, origin, 1, "cpu")


def _load(run: RunDirectory, class_name: str, key: str | None = None) -> Learned | None:
    return load_learned(run, class_name, TECHNIQUE, key)


def _rows(run: RunDirectory, learned: Learned) -> torch.Tensor:
    return read_rows(run.read_bytes(f"{concept_folder(learned.class_name)}/learned_embeds.safetensors"), learned.token)


def test_what_is_learnt_is_stored_with_its_record(tiny_base, run, task):
    learned = _worker(tiny_base, run).learn(task)
    assert run.names("concepts") == [
        "concepts/sword_lily/learned_embeds.safetensors",
        "concepts/sword_lily/textual_inversion.json",
        "concepts/sword_lily/web/sword_lily.safetensors",
    ]
    assert concept_folder(CLASS_NAME) == "concepts/sword_lily"
    record = json.loads(run.read_bytes("concepts/sword_lily/textual_inversion.json"))
    assert (record["key"], record["technique"]) == (task.key, TECHNIQUE)
    assert record["token"] == token_of(CLASS_NAME) == "<sword_lily>"
    assert record["details"] == {"initializer_token": "flower", "start": "initializer_token"}
    assert (record["num_vectors"], record["num_parameters"], record["seed"]) == (3, 3 * 16, learned.seed)
    assert (record["base"], record["base_sha256"]) == (str(tiny_base), "b" * 64)
    assert record["files"] == {
        name: hashlib.sha256(run.read_bytes(f"concepts/sword_lily/{name}")).hexdigest()
        for name in ("learned_embeds.safetensors", "web/sword_lily.safetensors")
    }
    assert (record["num_images"], record["num_steps"], record["error"]) == (5, 10, "")
    assert [point["step"] for point in record["loss_curve"]] == [0, 5, 10]
    assert record["best_step"] == min(record["loss_curve"], key=lambda point: point["loss"])["step"]
    assert {n["vector"] for n in record["neighbours"]} == {0, 1, 2}
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    stored = load_file(run.path("concepts/sword_lily/learned_embeds.safetensors"))
    assert list(stored) == ["<sword_lily>"]
    assert torch.equal(_rows(run, learned), stored["<sword_lily>"])
    web = load_file(run.path("concepts/sword_lily/web/sword_lily.safetensors"))
    assert torch.equal(web["emb_params"], stored["<sword_lily>"])
    assert _load(run, CLASS_NAME, task.key) == _load(run, CLASS_NAME) == learned


def test_every_vector_moves_to_its_own_place(tiny_base, base, run, task):
    rows = _rows(run, _worker(tiny_base, run).learn(task))
    initial = base.text_encoder.get_input_embeddings().weight[base.tokenizer("flower").input_ids[1]]
    assert rows.shape == (3, 16)
    assert (rows - initial).norm(dim=1).min() > 1e-3
    assert torch.pdist(rows).min() > 1e-4


class _LostWorker(Exception):
    pass


def _break_after(monkeypatch: pytest.MonkeyPatch, num_checkpoints: int) -> None:
    real, written = Worker._save_checkpoint, []

    def save_then_break(self, task, state) -> None:
        real(self, task, state)
        written.append(state.step)
        if len(written) == num_checkpoints:
            raise _LostWorker

    monkeypatch.setattr(Worker, "_save_checkpoint", save_then_break)


def _broken_run(tiny_base: Path, run: RunDirectory, task: LearningTask, monkeypatch) -> None:
    with monkeypatch.context() as patched:
        _break_after(patched, 3)
        with pytest.raises(_LostWorker):
            _worker(tiny_base, run).learn(task)
    assert run.names("concepts") == [CHECKPOINT]


def test_a_new_worker_goes_on_from_the_checkpoint_and_ends_at_the_same_bits(
    tiny_base, run, task, tmp_path, monkeypatch
):
    whole_run = RunDirectory(str(tmp_path / "whole"))
    whole = _worker(tiny_base, whole_run).learn(task)
    _broken_run(tiny_base, run, task, monkeypatch)
    steps_taken = []
    real_draw = trainer.draw
    monkeypatch.setattr(trainer, "draw", lambda *args: steps_taken.append(args[1]) or real_draw(*args))
    resumed = _worker(tiny_base, run).learn(task)
    assert steps_taken.count(CONFIG.batch_size) == 4
    assert torch.equal(_rows(run, resumed), _rows(whole_run, whole))
    assert dataclasses.replace(resumed, seconds=0.0) == dataclasses.replace(whole, seconds=0.0)


def test_a_checkpoint_of_another_key_is_not_gone_on_from(tiny_base, run, task, tmp_path, monkeypatch):
    _broken_run(tiny_base, run, task, monkeypatch)
    other = dataclasses.replace(task, key="other", addresses=task.addresses[:2])
    elsewhere = RunDirectory(str(tmp_path / "elsewhere"))
    learned = _worker(tiny_base, run).learn(other)
    assert learned.files == _worker(tiny_base, elsewhere).learn(other).files


def test_a_damaged_checkpoint_is_named(tiny_base, run, task, monkeypatch):
    _broken_run(tiny_base, run, task, monkeypatch)
    run.write_bytes(CHECKPOINT, run.read_bytes(CHECKPOINT)[:-10])
    with pytest.raises(ValueError, match=r"textual_inversion\.safetensors is damaged .*: delete it"):
        _worker(tiny_base, run).learn(task)


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
    assert _load(run, CLASS_NAME) is None
    assert _step_of_checkpoint(run) == 6
    resumed = _worker(tiny_base, run).learn(task)
    whole = _worker(tiny_base, RunDirectory(str(tmp_path / "whole"))).learn(task)
    assert dataclasses.replace(resumed, seconds=0.0) == dataclasses.replace(whole, seconds=0.0)
    assert sorted(path.name for path in Path(run.uri).rglob("*") if path.is_file()) == [
        "learned_embeds.safetensors",
        "sword_lily.safetensors",
        "textual_inversion.json",
    ]


def _task(task: LearningTask, name: str, num_images: int) -> LearningTask:
    return dataclasses.replace(task, class_name=name, addresses=task.addresses[:num_images], key=name * 8)


def test_classes_learnt_together_are_those_learnt_alone(tiny_base, run, task, tmp_path):
    tasks = [_task(task, "rose", 5), _task(task, "red lily", 3), _task(task, "azalea", 1)]
    together = _worker(tiny_base, run).learn_together(tasks)
    assert [learned.class_name for learned in together] == ["rose", "red lily", "azalea"]
    other = RunDirectory(str(tmp_path / "alone"))
    learner = _worker(tiny_base, other)
    for one, learned in zip(tasks, together, strict=True):
        alone = learner.learn(one)
        # float32 kernels round differently at another batch size
        torch.testing.assert_close(_rows(run, learned), _rows(other, alone), rtol=0, atol=2e-4)
        assert (_rows(run, learned) - _rows(run, together[0])).abs().max() > 1e-3 or learned is together[0]
        assert (learned.num_steps, learned.num_images) == (alone.num_steps, alone.num_images)
        losses = [point.loss for point in learned.loss_curve]
        assert losses == pytest.approx([point.loss for point in alone.loss_curve], rel=1e-4)
        assert _load(run, one.class_name, one.key) == learned


def test_a_class_that_cannot_be_learnt_does_not_take_its_batch_down(tiny_base, run, task, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = dataclasses.replace(_task(task, "lily", 1), addresses=(str(tmp_path / "broken.png"),))
    outcomes = _worker(tiny_base, run).learn_together([broken, _task(task, "rose", 5), _task(task, "azalea", 0)])
    assert "broken.png" in outcomes[0].error
    assert outcomes[1].error == "" and _load(run, "rose") == outcomes[1]
    assert "class 'azalea' has no training image" in outcomes[2].error
    assert _load(run, "lily") is _load(run, "azalea") is None
    with pytest.raises(ValueError, match=r"broken\.png"):
        _worker(tiny_base, run).learn(broken)


def test_a_batch_of_classes_that_is_broken_off_goes_on_where_it_was(tiny_base, run, task, tmp_path, monkeypatch):
    tasks = [_task(task, "rose", 5), _task(task, "azalea", 3)]
    whole = RunDirectory(str(tmp_path / "whole"))
    expected = _worker(tiny_base, whole).learn_together(tasks)
    real_save, num_saved = Worker._save_checkpoint, []

    def save_and_break(self, one, state):
        real_save(self, one, state)
        num_saved.append(one.class_name)
        if len(num_saved) == 6:
            raise _LostWorker

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_save_checkpoint", save_and_break)
        with pytest.raises(_LostWorker):
            _worker(tiny_base, run).learn_together(tasks)
    resumed = _worker(tiny_base, run).learn_together(tasks)
    for ours, theirs in zip(resumed, expected, strict=True):
        assert torch.equal(_rows(run, ours), _rows(whole, theirs))
        assert ours.loss_curve == theirs.loss_curve


def test_an_sdxl_concept_is_stored_in_two_parts(make_tiny_base, run, task):
    learned = _worker(make_tiny_base(is_xl=True), run).learn(task)
    stored = load_file(run.path("concepts/sword_lily/learned_embeds.safetensors"))
    assert {name: tuple(part.shape) for name, part in stored.items()} == {"clip_l": (3, 16), "clip_g": (3, 24)}
    assert torch.equal(_rows(run, learned), torch.cat([stored["clip_l"], stored["clip_g"]], dim=1))


def test_neighbours_among_concepts_are_read_from_their_files(make_tiny_base, run, task):
    learner = _worker(make_tiny_base(is_xl=True), run)
    learnt = learner.learn_together([_task(task, "rose", 5), _task(task, "red lily", 3)])
    parts = [
        load_file(run.path(f"{concept_folder(learned.class_name)}/learned_embeds.safetensors")) for learned in learnt
    ]
    cosine = torch.nn.functional.cosine_similarity
    expected = sum(cosine(parts[0][name][:, None], parts[1][name][None], dim=2) for name in ("clip_l", "clip_g")) / 2
    found = neighbours_among(
        run, [learnt[0], dataclasses.replace(learnt[0], class_name="azalea", error="no images"), learnt[1]]
    )
    assert len(found) == 2 * 3 * 3
    for near in found:
        assert {near.class_name, near.other_class_name} == {"rose", "red lily"}
        place = (near.vector, near.other_vector)
        wanted = expected[place if near.class_name == "rose" else place[::-1]].item()
        assert near.cosine == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(("technique", "is_compiled"), [(TECHNIQUE, True), ("lora", False)])
def test_the_base_is_loaded_as_the_config_says_and_compiled_where_it_stays_as_it_is(
    tiny_base, run, monkeypatch, technique, is_compiled
):
    seen = []
    monkeypatch.setattr(worker, "load_base", lambda *args, **options: seen.append((args, options)))
    base = BaseConfig(path=str(tiny_base), dtype="bfloat16", channels_last=True, compile=True)
    Worker(technique, CONFIG, Origin(base=base, base_sha256="b" * 64, run=run), 1, "cuda")
    assert seen == [((tiny_base, "bfloat16", "cuda"), {"channels_last": True, "compile_unet": is_compiled})]
