"""Techniques that the package has never heard of need a config class, an implementation and a row each, no more."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from foreign_techniques import BiasConfig, ScaleConfig
from PIL import Image
from safetensors.torch import load

from flowerti.artifacts.records import Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import (
    BaseConfig,
    DataConfig,
    Experiment,
    LoraConfig,
    SamplingConfig,
    ScheduleConfig,
    TextualInversionConfig,
    from_json,
    to_json,
)
from flowerti.config.techniques import TECHNIQUES, Technique, techniques_for, with_needs
from flowerti.diffusion import load_base
from flowerti.generation.sampler import Sampler, Wanted, plan_shards
from flowerti.generation.text_to_image import build_pipeline, draw_images
from flowerti.personalization.encoding import TextStates, encode_empty_prompt, encode_text, tokenise
from flowerti.personalization.store import applied
from flowerti.personalization.technique import implementation_of
from flowerti.personalization.worker import LearningTask, Origin, Worker
from flowerti.tables.sources import SOURCES, Source

NAMES = ("red lily", "rose")
WANTED_SOURCES = ("token", "biased", "scaled")
SAMPLING = SamplingConfig(num_per_class=2, num_inference_steps=3, batch_size=2)


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plugin would add, for the time of a test."""
    bias = Technique(
        name="state_bias",
        label="biases",
        config=BiasConfig(),
        implementation="foreign_techniques:STATE_BIAS",
        shares_batches=True,
    )
    scale = Technique(
        name="attention_scale",
        label="scales",
        config=ScaleConfig(),
        implementation="foreign_techniques:ATTENTION_SCALE",
        needs="lora",
    )
    for technique in (bias, scale):
        monkeypatch.setitem(TECHNIQUES._rows, technique.name, technique)
    for name, technique, words in (
        ("biased", "state_bias", lambda names: names.class_name),
        ("scaled", "attention_scale", lambda names: names.token),
    ):
        source = Source(name=name, label=name, colour="#000000", words=words, technique=technique)
        monkeypatch.setitem(SOURCES._rows, name, source)


@pytest.fixture(scope="module")
def vivid_base(make_tiny_base) -> Path:
    return make_tiny_base(text_gain=8.0)


@pytest.fixture(scope="module")
def addresses(images, tmp_path_factory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("images")
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    return tuple(str(folder / f"{i}.png") for i in range(len(images)))


def _learn(base: Path, run: RunDirectory, config: ScheduleConfig, addresses: tuple[str, ...]) -> list[Learned]:
    origin = Origin(base=BaseConfig(path=str(base)), base_sha256="b" * 64, run=run)
    tasks = [
        LearningTask(
            technique=config.section, class_name=name, addresses=addresses, image_size_px=32, run_seed=5, key=name
        )
        for name in NAMES
    ]
    return Worker(config.section, config, origin, 1, "cpu").learn_together(tasks)


def _short(kind: type[ScheduleConfig], **settings: Any) -> ScheduleConfig:
    return kind(
        num_steps=16, batch_size=8, num_eval_latents=8, eval_every_steps=8, checkpoint_every_steps=8, **settings
    )


def test_a_plugin_s_settings_are_a_section_of_the_config_and_come_back():
    experiment = Experiment(
        name="x",
        data=DataConfig(kind="herbarium"),
        base=BaseConfig(path="demo"),
        sampling=SamplingConfig(sources=WANTED_SOURCES),
        techniques={"state_bias": BiasConfig(largest=2.0)},
    )
    assert experiment.techniques["attention_scale"] == ScaleConfig()
    assert from_json(to_json(experiment)) == experiment
    with pytest.raises(ValueError, match=r"state_bias\.largest must be positive"):
        BiasConfig(largest=-1.0)
    wanted = [technique.name for technique in techniques_for(WANTED_SOURCES)]
    assert wanted == ["textual_inversion", "state_bias", "lora", "attention_scale"]


def test_a_config_that_a_base_cannot_serve_is_refused_before_it_is_loaded(vivid_base, make_tiny_base):
    implementation_of(TECHNIQUES["state_bias"]).check(vivid_base, BiasConfig())
    with pytest.raises(ValueError, match="state_bias: needs a base with one text encoder"):
        implementation_of(TECHNIQUES["state_bias"]).check(make_tiny_base(is_xl=True), BiasConfig())


def test_a_bias_is_learnt_in_a_shared_batch_and_draws_as_learnt(vivid_base, addresses, tmp_path):
    run = RunDirectory(str(tmp_path))
    learned = _learn(vivid_base, run, _short(BiasConfig, largest=0.25), addresses)
    base = load_base(vivid_base, "float32", "cpu")
    for one in learned:
        assert not one.error
        assert (one.technique, one.token, one.num_vectors, one.num_parameters) == ("state_bias", "", 0, 16)
        assert one.details["largest"] == 0.25
        assert list(one.files) == ["bias.safetensors"]
        assert one.loss_curve[-1].loss < one.loss_curve[0].loss
    biases = [load(run.read_bytes(f"concepts/{name.replace(' ', '_')}/bias.safetensors"))["bias"] for name in NAMES]
    assert all(0.2 < bias.abs().max() <= 0.25 for bias in biases), "what comes after each step was done"
    assert not torch.equal(*biases)
    (task,) = plan_shards(
        Wanted(class_name=NAMES[0], source="biased", words=NAMES[0], run_seed=5, inputs="x"), SAMPLING
    )
    Sampler(BaseConfig(path=str(vivid_base)), SAMPLING, run, 1, "cpu").write(task)
    drawn = pq.read_table(run.path(task.file)).to_pylist()
    with torch.no_grad():
        hidden = encode_text(base, tokenise(base, [f'Photo of a "{NAMES[0]}"'])).hidden
        empty = encode_empty_prompt(base)
        pipeline, seeds = build_pipeline(base), [row["seed"] for row in drawn]
        by_hand, without = (
            draw_images(
                pipeline,
                TextStates(hidden=hidden + bias, pooled=None),
                # the bias is on the empty prompt too, as it would be in a pipeline whose text encoder has it
                TextStates(hidden=empty.hidden + bias, pooled=None),
                seeds,
                SAMPLING,
            )
            for bias in (biases[0], torch.zeros_like(biases[0]))
        )
    ours = np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in drawn])
    np.testing.assert_array_equal(ours, by_hand)
    assert np.abs(ours.astype(int) - without).max() > 4


def test_a_technique_may_build_on_an_adapter_on_a_token(vivid_base, addresses, tmp_path):
    run = RunDirectory(str(tmp_path))
    missing = _learn(vivid_base, run, _short(ScaleConfig), addresses)
    assert ["textual_inversion has not finished" in one.error for one in missing] == [True, True]
    tokens = _learn(vivid_base, run, _short(TextualInversionConfig, num_vectors=2), addresses)
    adapters = _learn(vivid_base, run, _short(LoraConfig, learning_rate=0.01), addresses)
    scales = _learn(vivid_base, run, _short(ScaleConfig), addresses)
    for token, adapter, scale in zip(tokens, adapters, scales, strict=True):
        assert token.error == adapter.error == scale.error == ""
        assert token.token == adapter.token == scale.token, "all are learnt on the token's captions"
        best = [min(point.loss for point in one.loss_curve) for one in (token, adapter, scale)]
        # each begins where the one before it was best: all are evaluated on the same draws
        assert adapter.loss_curve[0].loss == pytest.approx(best[0], rel=1e-5)
        assert scale.loss_curve[0].loss == pytest.approx(best[1], rel=1e-5)
        assert best[2] < best[1] < best[0]
    base = load_base(vivid_base, "float32", "cpu")
    before = {name: len(module._forward_hooks) for name, module in base.unet.named_modules()}
    with applied(base, run, NAMES[0], "attention_scale") as with_all:
        assert with_all.token == tokens[0].token
        hooked = {n for n, module in base.unet.named_modules() if len(module._forward_hooks) > before[n]}
        assert any(n.endswith("attn2") for n in hooked) and any(n.endswith("to_q") for n in hooked)
    assert before == {name: len(module._forward_hooks) for name, module in base.unet.named_modules()}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "other"}, "section of its config must be 'other', the technique's name, not 'state_bias'"),
        ({"needs": "lora"}, "shares_batches must be off, because it needs 'lora'"),
    ],
)
def test_a_row_that_cannot_work_is_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        dataclasses.replace(TECHNIQUES["state_bias"], **changes)


def test_needs_that_lead_back_are_refused(monkeypatch):
    assert [t.name for t in with_needs("attention_scale")] == ["textual_inversion", "lora", "attention_scale"]
    assert with_needs("") == []
    back = dataclasses.replace(TECHNIQUES["textual_inversion"], shares_batches=False, needs="attention_scale")
    monkeypatch.setitem(TECHNIQUES._rows, "textual_inversion", back)
    with pytest.raises(ValueError, match="technique 'lora': needs leads back to itself"):
        with_needs("lora")


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("no.such.module:X", "cannot be loaded: No module named 'no'"),
        (f"{__name__}:MISSING", "cannot be loaded"),
        (f"{__name__}:NAMES", "is no Implementation"),
    ],
)
def test_code_that_is_not_there_is_named(where, problem):
    row = dataclasses.replace(TECHNIQUES["state_bias"], implementation=where)
    with pytest.raises(ValueError, match=f"technique 'state_bias': {where} {problem}"):
        implementation_of(row)
