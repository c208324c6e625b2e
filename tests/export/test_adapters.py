"""Exported adapters change a diffusers pipeline as they change the base here."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from huggingface_hub import ModelCard
from safetensors import safe_open
from small_export import SHA256, WEAK, WORDS, adapter_of, asking, rows_of

from flowerti.artifacts.layout import learned_record
from flowerti.export.exporter import export_run
from flowerti.personalization.lora.layers import unet_layers
from flowerti.personalization.low_rank import adapted


@pytest.fixture
def adapters(run, tmp_path: Path) -> Path:
    (folder,) = export_run(run, str(tmp_path / "out"), asking("adapters"))
    return folder


def _predict(unet) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents, states = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 5, 16, generator=generator)
    with torch.no_grad():
        return unet(latents, torch.tensor([10]), states).sample


@pytest.mark.parametrize("name", ["Tulip", "café"])
def test_an_adapter_predicts_in_diffusers_as_here(adapters, base, tiny_base, name):
    pytest.importorskip("peft", reason="diffusers loads adapters with it")
    own = adapters / f"{WORDS[name]}-lora"
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_base)
    plain = _predict(pipeline.unet)
    pipeline.load_textual_inversion(str(own / f"{WORDS[name]}.safetensors"))
    pipeline.load_lora_weights(str(own), weight_name=f"{WORDS[name]}-lora.safetensors")
    with adapted(unet_layers(base.unet), adapter_of(base, name)):
        expected = _predict(base.unet)
    torch.testing.assert_close(_predict(pipeline.unet), expected, rtol=0, atol=1e-5)
    assert (expected - plain).abs().max() > 1e-3
    ids = pipeline.tokenizer.convert_tokens_to_ids([f"<{WORDS[name]}>"])
    torch.testing.assert_close(pipeline.text_encoder.get_input_embeddings().weight[ids], rows_of(name)[:1])


def test_each_has_a_header_a_card_and_images(adapters, tiny_base):
    assert sorted(path.name for path in adapters.iterdir()) == sorted(f"{WORDS[name]}-lora" for name in WEAK)
    own = adapters / "ti-cafe-lora"
    with safe_open(own / "ti-cafe-lora.safetensors", "pt") as opened:
        metadata = opened.metadata()
    assert metadata["modelspec.architecture"] == "stable-diffusion-text-width-16/lora"
    assert metadata["modelspec.trigger_phrase"] == "ti-cafe" and metadata["flowerti.base_sha256"] == SHA256
    card = ModelCard.load(own / "README.md")
    assert card.data.base_model == tiny_base.name and "lora" in card.data.tags
    assert 'load_lora_weights(".", weight_name="ti-cafe-lora.safetensors")' in card.content
    assert [one["output"]["url"] for one in card.data.widget] == [f"images/lora-{i:06d}.png" for i in range(4)]


def test_a_run_without_adapters_is_told_what_to_do(run, tmp_path):
    for name in WEAK:
        file = learned_record(name, "lora")
        record = json.loads(run.read_bytes(file)) | {"error": "loss is nan"}
        run.write_bytes(file, json.dumps(record).encode())
    with pytest.raises(ValueError, match=r"no adapter has been learnt: add lora to sampling\.sources"):
        export_run(run, str(tmp_path / "out"), asking("adapters"))
