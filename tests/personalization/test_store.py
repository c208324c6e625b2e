import dataclasses
import hashlib
import json

import pytest
import torch

from flowerti.artifacts.layout import learned_file, learned_record
from flowerti.artifacts.records import Learned, LossPoint, Neighbour
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, LoraConfig, ScheduleConfig, TextualInversionConfig
from flowerti.config.techniques import TECHNIQUES
from flowerti.diffusion import Base, load_base
from flowerti.personalization.encoding import encode_prompts
from flowerti.personalization.lora.layers import unet_layers
from flowerti.personalization.low_rank import adapter_bytes, start_adapter
from flowerti.personalization.store import (
    Material,
    applied,
    key_for,
    load_learned,
    neighbours_among,
    require_learned,
    save_learned,
    store_failure,
)
from flowerti.personalization.textual_inversion.embedding_files import diffusers_bytes, web_bytes

LEARNED = Learned(
    class_name="sword lily",
    technique="textual_inversion",
    token="<sword_lily>",
    num_vectors=2,
    num_parameters=32,
    loss_curve=[LossPoint(step=0, loss=0.5, seconds=1.5)],
    neighbours=[Neighbour(vector=0, token="rose", cosine=0.25)],
    details={"start": "mean", "rank": 4, "strength": 0.5, "whole": 2.0},
    versions={"torch": "2"},
    seconds=1.0,
)
FILES = {"learned_embeds.safetensors": b"rows", "web/sword_lily.safetensors": b"web"}
MATERIAL = Material(
    class_name="sword lily", images_sha256="i", image_size_px=32, run_seed=0, base_sha256="b", needed=[]
)


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    return RunDirectory(str(tmp_path))


def test_a_record_comes_back_as_it_was_with_the_hashes_of_its_files(run):
    stored = save_learned(run, LEARNED, FILES, "k")
    assert stored.files == {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    loaded = load_learned(run, "sword lily", "textual_inversion", "k")
    assert loaded == dataclasses.replace(LEARNED, files=stored.files)
    assert {name: type(value) for name, value in loaded.details.items()} == {
        "start": str, "rank": int, "strength": float, "whole": float,
    }  # fmt: skip
    content = require_learned(run, "sword lily", "textual_inversion")
    assert (content.learned, content.files) == (loaded, FILES)


def test_it_counts_only_with_its_key_and_every_file(run):
    name = "learned_embeds.safetensors"
    assert load_learned(run, "sword lily", "textual_inversion") is None
    save_learned(run, LEARNED, FILES, "k")
    assert load_learned(run, "sword lily", "textual_inversion", "other") is None
    assert load_learned(run, "sword lily", "lora") is load_learned(run, "rose", "textual_inversion") is None
    file = learned_file("sword lily", name)
    run.write_bytes(file, FILES[name] + b"!")
    assert load_learned(run, "sword lily", "textual_inversion", "k") is None
    run.delete(file)
    assert load_learned(run, "sword lily", "textual_inversion", "k") is None
    with pytest.raises(ValueError, match="class 'sword lily': textual_inversion has not finished"):
        require_learned(run, "sword lily", "textual_inversion")
    run.write_bytes(file, FILES[name])
    assert load_learned(run, "sword lily", "textual_inversion", "k") is not None


@pytest.mark.parametrize("widths", [[4], [3, 5]], ids=["one text encoder", "two"])
def test_a_file_for_other_programs_is_written_anew_where_it_is_lost_or_changed(run, widths, caplog):
    rows = torch.randn(2, sum(widths), generator=torch.Generator().manual_seed(0))
    files = {
        "learned_embeds.safetensors": diffusers_bytes(LEARNED.token, rows, widths),
        "web/sword_lily.safetensors": web_bytes(rows, widths),
    }
    stored, file = save_learned(run, LEARNED, files, "k"), learned_file("sword lily", "web/sword_lily.safetensors")
    run.delete(file)
    assert load_learned(run, "sword lily", "textual_inversion", "k") == stored
    assert run.read_bytes(file) == files["web/sword_lily.safetensors"]
    run.write_bytes(file, b"rows of somebody else")
    assert load_learned(run, "sword lily", "textual_inversion", "k") == stored
    assert run.read_bytes(file) == files["web/sword_lily.safetensors"]
    assert [message.split(" is damaged ")[0] for message in caplog.messages] == [file, file]


def test_a_failure_is_written_down_and_is_nothing_learnt(run):
    failed = Learned(class_name="rose", technique="lora", error="no image")
    assert store_failure(run, failed, "k") == failed
    assert run.load(learned_record("rose", "lora"), Learned, "k") == failed
    assert load_learned(run, "rose", "lora", "k") is None
    assert neighbours_among(run, [failed]) == []


def _key(config: ScheduleConfig, base: BaseConfig | None = None, **changes: object) -> str:
    material = dataclasses.replace(MATERIAL, **changes)
    return key_for(TECHNIQUES[config.section], config, base or BaseConfig(path="somewhere"), material)


@pytest.mark.parametrize("config", [TextualInversionConfig(), LoraConfig()])
def test_every_setting_but_the_checkpoints_enters_the_key(config):
    key = _key(config)
    assert key == _key(dataclasses.replace(config, checkpoint_every_steps=7))
    keys = [key]
    for field in dataclasses.fields(config):
        if field.name != "checkpoint_every_steps":
            value = getattr(config, field.name)
            other = {"start": "mean", "initializer_token": "rose", "keep_norm": True}.get(field.name)
            keys.append(_key(dataclasses.replace(config, **{field.name: value + 1 if other is None else other})))
    assert len(set(keys)) == len(dataclasses.fields(config))


def test_the_key_holds_base_images_seed_and_what_is_built_upon():
    config = LoraConfig()
    key = _key(config)
    assert key == _key(config, BaseConfig(path="elsewhere", compile=True, channels_last=True))
    token = dataclasses.replace(LEARNED, files={"a": "1"})
    others = [
        _key(config, BaseConfig(path="somewhere", dtype="bfloat16")),
        _key(config, base_sha256="other"),
        _key(config, images_sha256="other"),
        _key(config, image_size_px=64),
        _key(config, run_seed=1),
        _key(config, class_name="rose"),
        _key(config, needed=[token]),
        _key(config, needed=[dataclasses.replace(token, files={"a": "2"})]),
        _key(config, needed=[dataclasses.replace(token, technique="lora")]),
    ]
    assert len({key, *others}) == len(others) + 1
    slower = dataclasses.replace(token, seconds=9.0, loss_curve=[])
    assert _key(config, needed=[token]) == _key(config, needed=[slower]), "how it was learnt is of no account"


def test_keys_of_the_first_learning_are_those_from_before_there_were_others():
    """The rule restated: no field of the material but those that there were."""
    config = TextualInversionConfig()
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k != "checkpoint_every_steps"}
    inputs = {
        "class_name": "sword lily", "images_sha256": "i", "image_size_px": 32, "run_seed": 0, "base_sha256": "b",
        "needed": [["lora", {"a": "1"}]],
    }  # fmt: skip
    needed = [Learned(class_name="sword lily", technique="lora", files={"a": "1"})]
    parts = ["textual_inversion", settings, BaseConfig(path="somewhere").dtype, inputs]
    assert _key(config, needed=needed) == hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    parts[-1] = inputs | {"learning": 1}
    first_of_others = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    assert _key(config, needed=needed, learning=1) == first_of_others


def test_each_learning_has_its_own_record_and_files(run):
    save_learned(run, LEARNED, FILES, "k")
    first = {name: run.read_bytes(name) for name in run.names("concepts")}
    second = dataclasses.replace(LEARNED, learning=1)
    stored = save_learned(run, second, {"learned_embeds.safetensors": b"other rows"}, "k1")
    assert {name: run.read_bytes(name) for name in first} == first
    assert sorted(set(run.names("concepts")) - set(first)) == [
        "concepts/sword_lily/learning-1/learned_embeds.safetensors",
        "concepts/sword_lily/learning-1/textual_inversion.json",
    ]
    assert load_learned(run, "sword lily", "textual_inversion", "k1", learning=1) == stored
    assert load_learned(run, "sword lily", "textual_inversion", "k1") is None
    content = require_learned(run, "sword lily", "textual_inversion", 1)
    assert (content.learned.learning, content.files) == (1, {"learned_embeds.safetensors": b"other rows"})
    failed = Learned(class_name="sword lily", technique="textual_inversion", learning=2, error="loss is nan")
    store_failure(run, failed, "k2")
    assert run.load("concepts/sword_lily/learning-2/textual_inversion.json", Learned, "k2") == failed
    assert {name: run.read_bytes(name) for name in first} == first
    with pytest.raises(ValueError, match=r"class 'sword lily \(learning 2\)': textual_inversion has not finished"):
        require_learned(run, "sword lily", "textual_inversion", 2)


def _save_token_and_adapter(run: RunDirectory, base: Base) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 16, generator=generator)
    layers = unet_layers(base.unet)
    adapter = 0.2 * torch.randn(start_adapter(layers, 2, 0, "lora").shape, generator=generator)
    embeddings = {"learned_embeds.safetensors": diffusers_bytes("<sword_lily>", rows, [16])}
    save_learned(run, LEARNED, embeddings, "k")
    of_lora = Learned(class_name="sword lily", technique="lora")
    save_learned(run, of_lora, {"pytorch_lora_weights.safetensors": adapter_bytes(layers, adapter)}, "k")
    return rows, adapter


def _predict(base: Base) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents, states = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 5, 16, generator=generator)
    with torch.no_grad():
        return base.unet(latents, torch.tensor([10]), states).sample


def test_a_technique_is_applied_after_what_it_needs_and_taken_off_again(tiny_base, run):
    base = load_base(tiny_base, "float32", "cpu")
    rows, _ = _save_token_and_adapter(run, base)
    plain = _predict(base)
    with applied(base, run, "sword lily", "") as same:
        assert same is base
    with applied(base, run, "sword lily", "textual_inversion") as with_token:
        assert with_token.token == "<sword_lily>" and torch.equal(with_token.token_rows, rows)
        assert torch.equal(_predict(with_token), plain)
    with applied(base, run, "sword lily", "lora") as with_both:
        assert torch.equal(with_both.token_rows, rows)
        assert (_predict(with_both) - plain).abs().max() > 1e-3
        states = encode_prompts(with_both, ["a <sword_lily>"]).hidden
    assert torch.equal(_predict(base), plain)
    assert base.token_rows is None
    assert not torch.equal(encode_prompts(base, ["a <sword_lily>"]).hidden, states)


def test_what_has_not_finished_cannot_be_applied_and_leaves_no_trace(tiny_base, run):
    base = load_base(tiny_base, "float32", "cpu")
    _save_token_and_adapter(run, base)
    run.delete(learned_record("sword lily", "textual_inversion"))
    with (
        pytest.raises(ValueError, match="class 'sword lily': textual_inversion has not finished"),
        applied(base, run, "sword lily", "lora"),
    ):
        pass
    assert not any(module._forward_hooks for module in base.unet.modules())
