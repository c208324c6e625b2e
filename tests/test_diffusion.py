"""A base as it is loaded: frozen, in its own precision, with its own schedule."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from damaged_base import TEXT, UNET, VAE, cut, in_shards, reshaped, tensors, valued, written
from safetensors.torch import load_file

from flowerti import diffusion
from flowerti.base_files import PARTS, hash_base, parts_of, verify_base
from flowerti.config.experiment import BaseConfig
from flowerti.diffusion import load_base

NORM = "final_layer_norm.weight"


def test_base_is_loaded_frozen_with_the_file_s_weights(tiny_base, base):
    for network in (base.vae, base.text_encoder, base.unet):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
    stored = load_file(tiny_base / "text_encoder" / "model.safetensors")
    table = stored["text_model.embeddings.token_embedding.weight"]
    assert torch.equal(base.text_encoder.get_input_embeddings().weight, table)
    assert torch.equal(
        dict(base.text_encoder.named_parameters())["encoder.layers.1.mlp.fc1.weight"],
        stored["text_model.encoder.layers.1.mlp.fc1.weight"],
    )
    assert base.vocabulary_size == len(table)


def test_half_precision_leaves_the_autoencoder_in_float32(tiny_base):
    base = load_base(tiny_base, "bfloat16", "cpu")
    assert base.dtype == base.text_encoder.dtype == torch.bfloat16
    assert base.vae.dtype == torch.float32
    assert base.noise_scheduler.alphas_cumprod.dtype == torch.float32


def test_schedule_is_the_base_s_own(base):
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    np.testing.assert_allclose(base.noise_scheduler.alphas_cumprod, np.cumprod(1 - betas), rtol=1e-4)
    assert base.noise_scheduler.config.prediction_type == "epsilon"


def test_auto_precision_is_float32_on_a_cpu(tiny_base, monkeypatch):
    assert load_base(tiny_base, "auto", "cpu").dtype == torch.float32
    assert diffusion._precision("auto", "cuda") == torch.bfloat16
    assert diffusion._precision("float16", "cuda") == torch.float16


def test_sdxl_s_second_parts_belong_to_the_base(make_tiny_base, tmp_path):
    folder = Path(shutil.copytree(make_tiny_base(is_xl=True), tmp_path / "xl"))
    assert parts_of(folder) == (*PARTS, "text_encoder_2", "tokenizer_2")
    before = hash_base(verify_base(BaseConfig(path=str(folder))))
    base = load_base(folder, "float32", "cpu")
    assert (base.row_widths, base.zero_empty_prompt) == ([16, 24], True)
    (folder / "text_encoder_2" / "config.json").write_text("{}")
    assert hash_base(folder) != before
    shutil.rmtree(folder / "text_encoder_2")
    with pytest.raises(ValueError, match=r"text_encoder_2 has no config\.json"):
        verify_base(BaseConfig(path=str(folder)))


def test_two_tokenizers_must_have_one_vocabulary(make_tiny_base, tmp_path):
    folder = Path(shutil.copytree(make_tiny_base(is_xl=True), tmp_path / "xl"))
    tokenizer = load_base(folder, "float32", "cpu").tokenizer_2
    tokenizer.add_tokens("<other>")
    tokenizer.save_pretrained(folder / "tokenizer_2")
    with pytest.raises(ValueError, match="different vocabularies"):
        load_base(folder, "float32", "cpu")


DAMAGE = {
    "nan": (
        valued(UNET, "conv_in.bias", float("nan")),
        "float32",
        rf"{UNET} holds conv_in\.bias, .* finite as float32",
    ),
    "infinite": (valued(VAE, "quant_conv.bias", float("inf")), "float32", rf"{VAE} holds quant_conv\.bias"),
    "prefixed": (valued(TEXT, f"text_model.{NORM}", float("nan")), "float32", rf"{TEXT} holds {NORM}"),
    "too large for half precision": (
        valued(UNET, "conv_in.bias", 1e6),
        "float16",
        r"finite as float16.*dtype float32",
    ),
    "missing": (tensors(TEXT, lambda content: content.pop(f"text_model.{NORM}")), "float32", rf"as {NORM}: fetch"),
    "cut short": (cut(TEXT, -9), "float32", r"text_encoder cannot be loaded: "),
    "of another shape": (reshaped(UNET, "conv_in.bias", 3), "float32", r"unet cannot be loaded: .*conv_in\.bias"),
    "no noise schedule": (written("scheduler/scheduler_config.json", ""), "float32", r"scheduler_config\.json is no"),
}


@pytest.mark.parametrize("kind", list(DAMAGE))
def test_what_cannot_be_loaded_is_told_by_its_file(tiny_base, tmp_path, kind):
    """Also where nothing was checked before, as on another node of a cluster."""
    damage, dtype, expected = DAMAGE[kind]
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    damage(folder)
    with pytest.raises(ValueError, match=expected) as caught:
        load_base(folder, dtype, "cpu")
    message = str(caught.value)
    assert message.startswith(f"base.path: {folder}") and "\n" not in message
    assert len(message.replace(str(folder), "")) <= 220


def test_a_value_in_a_shard_is_told_by_the_shard(tiny_base, tmp_path):
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    valued(UNET, "conv_out.bias", float("nan"))(folder)
    shard = json.loads(in_shards(folder).read_text())["weight_map"]["conv_out.bias"]
    with pytest.raises(ValueError, match=f"unet/{shard} holds conv_out.bias"):
        load_base(folder, "float32", "cpu")


def test_channels_last_changes_the_layout_and_not_the_numbers(tiny_base, base):
    other = load_base(tiny_base, "float32", "cpu", channels_last=True)
    assert other.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    inputs = (torch.ones(1, 4, 8, 8), torch.tensor([7]), torch.ones(1, 77, 16))
    torch.testing.assert_close(other.unet(*inputs).sample, base.unet(*inputs).sample, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_u_net_gives_the_same_prediction(tiny_base, base):
    compiled = load_base(tiny_base, "float32", "cpu", compile_unet=True)
    inputs = (torch.ones(1, 4, 8, 8), torch.tensor([7]), torch.ones(1, 77, 16))
    with torch.no_grad():
        torch.testing.assert_close(compiled.unet(*inputs).sample, base.unet(*inputs).sample, rtol=0, atol=1e-5)
    blocks = [m for m in compiled.unet.modules() if type(m).__name__ == "BasicTransformerBlock"]
    assert blocks and all(block._compiled_call_impl is not None for block in blocks)
