import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from safetensors.torch import load_file, save_file

from flowerti.config import BaseConfig
from flowerti.diffusion import (
    PARTS,
    encode_pictures,
    encode_prompts,
    hash_base,
    load_base,
    tokenise,
    verify_base,
    word_id,
)

TOKEN = "<sword_lily>"
PROMPTS = ['Photo of a "<sword_lily>"', "a red <sword_lily> close up, <sword_lily>"]


@pytest.fixture
def copied_base(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def test_verify_base_accepts_a_whole_base(tiny_base):
    assert verify_base(BaseConfig(path=str(tiny_base))) == tiny_base


@pytest.mark.parametrize("part", PARTS)
def test_verify_base_names_a_missing_part(copied_base, part):
    shutil.rmtree(copied_base / part)
    with pytest.raises(ValueError, match=rf"base\.path: .*/{part} has no "):
        verify_base(BaseConfig(path=str(copied_base)))


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/merges.txt",
        "unet/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ],
)
def test_verify_base_names_a_missing_file(copied_base, name):
    (copied_base / name).unlink()
    expected = "*.safetensors" if name.endswith(".safetensors") else Path(name).name
    with pytest.raises(ValueError, match=r"^base\.path: ") as caught:
        verify_base(BaseConfig(path=str(copied_base)))
    assert str((copied_base / name).parent) in str(caught.value)
    assert expected in str(caught.value)


def test_pickled_weights_are_no_weights(copied_base):
    folder = copied_base / "text_encoder"
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"text_encoder has no \*\.safetensors"):
        verify_base(BaseConfig(path=str(copied_base)))


def test_a_name_that_is_not_at_hand_says_how_to_fetch_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="hf download nobody/no-such-base"):
        verify_base(BaseConfig(path="nobody/no-such-base"))


def test_hash_does_not_depend_on_the_folder(tiny_base, copied_base):
    (copied_base / "README.md").write_text("a note")
    assert hash_base(copied_base) == hash_base(tiny_base)


@pytest.mark.parametrize(
    "name",
    [
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "tokenizer/merges.txt",
        "scheduler/scheduler_config.json",
    ],
)
def test_hash_changes_with_any_byte(tiny_base, copied_base, name):
    path = copied_base / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert hash_base(copied_base) != hash_base(tiny_base)


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


def _states_of_diffusers(folder: Path, prompts: list[str], embeddings: Path | None = None) -> torch.Tensor:
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    if embeddings is not None:
        pipeline.load_textual_inversion(str(embeddings))
    with torch.no_grad():
        return torch.cat([pipeline.encode_prompt(p, "cpu", 1, False)[0] for p in prompts])


def test_plain_prompts_are_encoded_as_diffusers_does(tiny_base, base):
    prompts = ["", 'Photo of a "sword lily"', "a FLOWER, 3 lilies & a rosé"]
    ours = encode_prompts(base, tokenise(base, prompts))
    torch.testing.assert_close(ours, _states_of_diffusers(tiny_base, prompts), rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_vectors", [1, 3])
def test_rows_are_encoded_as_diffusers_does_with_the_saved_file(tiny_base, base, tmp_path, num_vectors):
    rows = torch.randn(num_vectors, 16, generator=torch.Generator().manual_seed(1))
    table = base.text_encoder.get_input_embeddings().weight
    table_before = table.clone()
    ours = encode_prompts(base, tokenise(base, PROMPTS, TOKEN, num_vectors), rows)
    save_file({TOKEN: rows}, tmp_path / "learned_embeds.safetensors")
    theirs = _states_of_diffusers(tiny_base, PROMPTS, tmp_path)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert base.text_encoder.get_input_embeddings().weight is table
    assert torch.equal(table, table_before)
    assert TOKEN not in base.tokenizer.get_vocab()
    other_rows = encode_prompts(base, tokenise(base, PROMPTS, TOKEN, num_vectors), rows.flip(1))
    assert (other_rows - ours).abs().max() > 1e-2


def test_ids_of_rows_follow_the_vocabulary(base):
    ids = tokenise(base, ["a <x> flower <x>"], "<x>", 2)
    first = base.vocabulary_size
    expected = [word_id(base, "a"), first, first + 1, word_id(base, "flower"), first, first + 1]
    assert ids.shape == (1, 77)
    assert ids[0, 1:7].tolist() == expected
    assert set(ids[0, 7:].tolist()) == {base.tokenizer.eos_token_id}


@pytest.mark.parametrize("word", ["<rose>", "<rose>_1"])
def test_a_token_that_exists_is_refused(tiny_base, word):
    base = load_base(tiny_base, "float32", "cpu")
    base.tokenizer.add_tokens(word)
    with pytest.raises(ValueError, match="token '<rose>' exists already"):
        tokenise(base, ["a <rose>"], "<rose>", 2)


def test_a_word_of_the_vocabulary_is_no_token(base):
    with pytest.raises(ValueError, match="exists already"):
        tokenise(base, ["a flow"], "flow", 1)


def test_a_prompt_is_refused_where_diffusers_would_cut_it(base):
    assert tokenise(base, ["flower " * 75]).shape == (1, 77)
    with pytest.raises(ValueError, match="has 78 tokens: the text encoder takes 77"):
        tokenise(base, ["flower " * 76])
    with pytest.raises(ValueError, match="has 78 tokens"):
        tokenise(base, ["flower " * 73 + "<x>"], "<x>", 3)


def test_gradient_reaches_every_row_and_nothing_else(base):
    rows = torch.randn(3, 16, generator=torch.Generator().manual_seed(2)).requires_grad_()
    states = encode_prompts(base, tokenise(base, PROMPTS, TOKEN, 3), rows)
    states.square().mean().backward()
    assert rows.grad is not None
    assert (rows.grad.abs().sum(dim=1) > 0).all()
    assert all(parameter.grad is None for parameter in base.text_encoder.parameters())


def test_the_text_encoder_is_left_as_it_was_even_after_an_error(base):
    ids = tokenise(base, PROMPTS, TOKEN, 2)
    with pytest.raises(IndexError):
        encode_prompts(base, ids, torch.zeros(1, 16))
    assert not base.text_encoder.get_input_embeddings()._forward_hooks


def test_pictures_are_encoded_as_diffusers_does(base, pictures):
    mean, deviation = encode_pictures(base, pictures, batch_size=2)
    processor = VaeImageProcessor(vae_scale_factor=4)
    prepared = processor.preprocess([Image.fromarray(picture.numpy()) for picture in pictures])
    with torch.no_grad():
        posterior = base.vae.encode(prepared).latent_dist
    assert mean.dtype == deviation.dtype == torch.float32
    torch.testing.assert_close(mean, posterior.mean * 0.18215, rtol=0, atol=1e-6)
    torch.testing.assert_close(deviation, posterior.std * 0.18215, rtol=1e-5, atol=1e-6)


def test_word_id_takes_one_token_only(base):
    assert base.tokenizer.convert_ids_to_tokens(word_id(base, "flower")) == "flower</w>"
    with pytest.raises(ValueError, match=r"'sword' is 5 tokens in this base \(s w o r d</w>\)"):
        word_id(base, "sword")
