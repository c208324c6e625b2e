"""What holds for every technique that builds on a frozen token, on each family of bases, and for its worker."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small_techniques import CLASS_NAME, FAMILIES, RUN_SEED, SMALL, TOKEN, code_of, train, with_prior, with_token

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.layout import checkpoint, concept_folder
from flowerti.artifacts.records import Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, ScheduleConfig, TextualInversionConfig
from flowerti.config.techniques import TECHNIQUES, with_needs
from flowerti.diffusion import load_base
from flowerti.personalization import trainer
from flowerti.personalization.denoising import draw, evaluate, prepare
from flowerti.personalization.encoding import encode_text
from flowerti.personalization.store import applied, load_learned
from flowerti.personalization.textual_inversion.losses import denoising_loss, denoising_losses
from flowerti.personalization.worker import LearningTask, Origin, Worker
from flowerti.tables.sources import SOURCES, default_sources

NAMES = list(SMALL)
WITH_PRIOR = [name for name in NAMES if hasattr(SMALL[name], "prior")]
TOKENS = TextualInversionConfig(num_vectors=2, num_steps=4, batch_size=4, num_eval_latents=8, eval_every_steps=2)


def test_every_technique_on_a_token_is_here():
    assert [technique.name for technique in TECHNIQUES if technique.needs and not technique.is_joint] == NAMES


def test_each_has_a_source_that_draws_with_the_token_and_none_is_a_default():
    for name in NAMES:
        source = SOURCES[name]
        assert (source.technique, source.rivals, source.is_judged) == (name, ("token",), False)
        assert name not in default_sources()
        assert [technique.name for technique in with_needs(name)] == ["textual_inversion", name]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_where_its_token_stopped_and_helps_on_unseen_draws(make_tiny_base, images, name, family):
    base = with_token(load_base(make_tiny_base(text_gain=8.0, **family), "float32", "cpu"))
    data, config = prepare(base, images, TOKEN, 2), dataclasses.replace(SMALL[name], num_steps=40, batch_size=8)
    state = train(base, data, config).state
    seed = seed_for(RUN_SEED, CLASS_NAME, "inversion/evaluation", 0)
    settings = TextualInversionConfig(num_vectors=2, batch_size=8, num_eval_latents=8)
    of_token = evaluate(base, base.token_rows, data, settings, seed, denoising_losses)
    assert state.curve[0].loss == pytest.approx(of_token, rel=1e-5)
    unseen = draw(data, 64, 1000, 12345)
    with torch.no_grad():
        before = denoising_loss(base, base.token_rows, data, unseen)
        (after,) = code_of(name).losses(base, [data])(base, [state.best], [data], [unseen])
    assert after < 0.97 * before


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_networks_leave_what_is_learnt_in_float32(make_tiny_base, images, name):
    base = with_token(load_base(make_tiny_base(text_gain=8.0), "bfloat16", "cpu"))
    base = dataclasses.replace(base, token_rows=base.token_rows.float())
    data, code = prepare(base, images, TOKEN, 2), code_of(name)
    start = code.start(base, data, SMALL[name], CLASS_NAME, 0)
    assert start.dtype == torch.float32 and start.shape[0] == 1
    row = start.requires_grad_()
    (loss,) = code.losses(base, [data])(base, [row], [data], [draw(data, 4, 1000, 1)])
    (gradient,) = torch.autograd.grad(loss, [row])
    assert gradient.dtype == torch.float32 and gradient.abs().max() > 0


def _worker(base: Path, run: RunDirectory, config: ScheduleConfig) -> Worker:
    origin = Origin(base=BaseConfig(path=str(base)), base_sha256="b" * 64, run=run)
    return Worker(config.section, config, origin, 1, "cpu")


@pytest.fixture(scope="module")
def vivid_base(make_tiny_base) -> Path:
    return make_tiny_base(text_gain=8.0)


@pytest.fixture(scope="module")
def learnt(vivid_base, images, tmp_path_factory) -> tuple[RunDirectory, LearningTask]:
    """A run directory with a token, and the task that it was learnt with."""
    folder = tmp_path_factory.mktemp("learnt")
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    addresses = tuple(str(folder / f"{i}.png") for i in range(len(images)))
    run = RunDirectory(str(folder / "run"))
    task = LearningTask(
        technique="textual_inversion", class_name=CLASS_NAME, addresses=addresses, image_size_px=32,
        run_seed=RUN_SEED, key="k" * 64,
    )  # fmt: skip
    _worker(vivid_base, run, TOKENS).learn(task)
    return run, task


@pytest.fixture
def run(learnt, tmp_path) -> RunDirectory:
    return _copied(learnt[0], tmp_path / "run")


def _copied(run: RunDirectory, folder: Path) -> RunDirectory:
    copy = RunDirectory(str(folder))
    for name in run.names("concepts"):
        copy.write_bytes(name, run.read_bytes(name))
    return copy


def _task(learnt: Any, name: str) -> LearningTask:
    return dataclasses.replace(learnt[1], technique=name)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_stored_with_its_record_and_changes_what_the_base_predicts(vivid_base, learnt, run, name):
    _worker(vivid_base, run, SMALL[name]).learn(_task(learnt, name))
    folder = concept_folder(CLASS_NAME)
    record = json.loads(run.read_bytes(f"{folder}/{name}.json"))
    ((file, sha256),) = record["files"].items()
    content = run.read_bytes(f"{folder}/{file}")
    assert hashlib.sha256(content).hexdigest() == sha256
    assert record["details"]["bytes"] == len(content) > 4 * record["num_parameters"]
    assert (record["token"], record["num_vectors"], record["num_steps"]) == (TOKEN, 0, 10)
    assert [point["step"] for point in record["loss_curve"]] == [0, 5, 10]
    assert not run.exists(checkpoint(CLASS_NAME, name))
    base = load_base(vivid_base, "float32", "cpu")
    ids = prepare(base, torch.zeros(1, 32, 32, 3, dtype=torch.uint8), TOKEN, 2).captions[:1]
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    predicted = []
    for technique in ("textual_inversion", name, "textual_inversion"):
        with torch.no_grad(), applied(base, run, CLASS_NAME, technique) as changed:
            predicted.append(base.unet(noisy, 500, encode_text(changed, ids, changed.token_rows).hidden).sample)
    assert torch.equal(predicted[0], predicted[2]), "taken off again"
    assert (predicted[1] - predicted[0]).abs().max() > 1e-3


class _LostWorker(BaseException):
    pass


def _learn_until(monkeypatch: pytest.MonkeyPatch, worker: Worker, task: LearningTask, num_checkpoints: int) -> None:
    real, written = Worker._save_checkpoint, []

    def save_then_break(self, one, state) -> None:
        real(self, one, state)
        written.append(state.step)
        if len(written) == num_checkpoints:
            raise _LostWorker

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "_save_checkpoint", save_then_break)
        with pytest.raises(_LostWorker):
            worker.learn(task)


@pytest.mark.parametrize(
    "config",
    [*SMALL.values(), *(with_prior(SMALL[name]) for name in WITH_PRIOR)],
    ids=[*NAMES, *(f"{name}-prior" for name in WITH_PRIOR)],
)
def test_a_lost_worker_s_successor_ends_at_the_same_bits(vivid_base, learnt, run, tmp_path, monkeypatch, config):
    task, whole_run = _task(learnt, config.section), _copied(learnt[0], tmp_path / "whole")
    whole = _worker(vivid_base, whole_run, config).learn(task)
    _learn_until(monkeypatch, _worker(vivid_base, run, config), task, num_checkpoints=3)
    assert run.exists(checkpoint(CLASS_NAME, config.section))
    steps, real = [], trainer.take_step
    monkeypatch.setattr(trainer, "take_step", lambda *args: steps.append(1) or real(*args))
    resumed = _worker(vivid_base, run, config).learn(task)
    assert len(steps) == 4
    assert dataclasses.replace(resumed, seconds=0.0) == dataclasses.replace(whole, seconds=0.0)
    (file,) = whole.files
    folder = concept_folder(CLASS_NAME)
    assert run.read_bytes(f"{folder}/{file}") == whole_run.read_bytes(f"{folder}/{file}")


def test_file_names_do_not_collide(vivid_base, learnt, run):
    records = [_worker(vivid_base, run, SMALL[name]).learn(_task(learnt, name)) for name in NAMES]
    assert len({file for record in records for file in record.files}) == len(NAMES)
    for record in records:
        assert load_learned(run, CLASS_NAME, record.technique) == record


@pytest.mark.parametrize("name", WITH_PRIOR)
def test_a_prior_is_noted_in_the_record_and_changes_what_is_learnt(vivid_base, learnt, run, name):
    task = _task(learnt, name)
    plain = _worker(vivid_base, run, SMALL[name]).learn(task)
    kept = _worker(vivid_base, run, with_prior(SMALL[name], weight=0.5)).learn(task)
    assert (kept.details["prior"], kept.details["prior_weight"]) == ("flower", 0.5)
    assert "prior" not in plain.details
    assert kept.files != plain.files
    assert kept.loss_curve[0].loss > plain.loss_curve[0].loss, "the prior's loss is part of it"


@pytest.mark.parametrize("name", WITH_PRIOR)
def test_the_class_itself_as_the_noun_is_refused_before_anything_is_drawn(vivid_base, learnt, run, monkeypatch, name):
    worker = _worker(vivid_base, run, with_prior(SMALL[name]))
    monkeypatch.setattr(worker._base.unet, "forward", None)
    (failed,) = worker.learn_together([dataclasses.replace(_task(learnt, name), class_name="Flower")])
    assert isinstance(failed, Learned)
    assert failed.error.startswith(f"{name}.prior.noun must not be 'flower', the class itself")
