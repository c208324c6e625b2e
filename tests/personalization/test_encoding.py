import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from safetensors.torch import save_file

from flowerti.diffusion import Base, load_base
from flowerti.personalization.encoding import (
    encode_empty_prompt,
    encode_images,
    encode_prompts,
    encode_text,
    tokenise,
)

TOKEN = "<sword_lily>"
PROMPTS = ['Photo of a "<sword_lily>"', "a red <sword_lily> close up, <sword_lily>"]


def _states_of_diffusers(folder: Path, prompts: list[str], embeddings: Path | None = None) -> torch.Tensor:
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    if embeddings is not None:
        pipeline.load_textual_inversion(str(embeddings))
    with torch.no_grad():
        return torch.cat([pipeline.encode_prompt(p, "cpu", 1, False)[0] for p in prompts])


def test_plain_prompts_are_encoded_as_diffusers_does(tiny_base, base):
    prompts = ["", 'Photo of a "sword lily"', "a FLOWER, 3 lilies & a rosé"]
    ours = encode_text(base, tokenise(base, prompts)).hidden
    torch.testing.assert_close(ours, _states_of_diffusers(tiny_base, prompts), rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_vectors", [1, 3])
def test_rows_are_encoded_as_diffusers_does_with_the_saved_file(tiny_base, base, tmp_path, num_vectors):
    rows = torch.randn(num_vectors, 16, generator=torch.Generator().manual_seed(1))
    table = base.text_encoder.get_input_embeddings().weight
    table_before = table.clone()
    ours = encode_text(base, tokenise(base, PROMPTS, TOKEN, num_vectors), rows).hidden
    save_file({TOKEN: rows}, tmp_path / "learned_embeds.safetensors")
    theirs = _states_of_diffusers(tiny_base, PROMPTS, tmp_path)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert base.text_encoder.get_input_embeddings().weight is table
    assert torch.equal(table, table_before)
    assert TOKEN not in base.tokenizer.get_vocab()
    other_rows = encode_text(base, tokenise(base, PROMPTS, TOKEN, num_vectors), rows.flip(1)).hidden
    assert (other_rows - ours).abs().max() > 1e-2


def _id(base: Base, word: str) -> int:
    return base.tokenizer.convert_tokens_to_ids(f"{word}</w>")


def test_ids_of_rows_follow_the_vocabulary(base):
    ids = tokenise(base, ["a <x> flower <x>"], "<x>", 2)
    first = base.vocabulary_size
    expected = [_id(base, "a"), first, first + 1, _id(base, "flower"), first, first + 1]
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
    states = encode_text(base, tokenise(base, PROMPTS, TOKEN, 3), rows).hidden
    states.square().mean().backward()
    assert rows.grad is not None
    assert (rows.grad.abs().sum(dim=1) > 0).all()
    assert all(parameter.grad is None for parameter in base.text_encoder.parameters())


def test_the_text_encoder_is_left_as_it_was_even_after_an_error(base):
    ids = tokenise(base, PROMPTS, TOKEN, 2)
    with pytest.raises(IndexError):
        encode_text(base, ids, torch.zeros(1, 16))
    assert not base.text_encoder.get_input_embeddings()._forward_hooks


def test_images_are_encoded_as_diffusers_does(base, images):
    mean, std = encode_images(base, images, batch_size=2)
    processor = VaeImageProcessor(vae_scale_factor=4)
    prepared = processor.preprocess([Image.fromarray(image.numpy()) for image in images])
    with torch.no_grad():
        posterior = base.vae.encode(prepared).latent_dist
    assert mean.dtype == std.dtype == torch.float32
    torch.testing.assert_close(mean, posterior.mean * 0.18215, rtol=0, atol=1e-6)
    torch.testing.assert_close(std, posterior.std * 0.18215, rtol=1e-5, atol=1e-6)


def test_rows_of_another_width_are_refused(base):
    with pytest.raises(ValueError, match=r"learnt rows are 24 wide, the base's embedding 16: .* another base"):
        encode_text(base, tokenise(base, PROMPTS, TOKEN, 1), torch.zeros(1, 24))


def test_prompts_may_hold_the_token_that_the_base_carries(base):
    rows = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    carrying = dataclasses.replace(base, token=TOKEN, token_rows=rows)
    expected = encode_text(base, tokenise(base, PROMPTS, TOKEN, 2), rows).hidden
    assert torch.equal(encode_prompts(carrying, PROMPTS).hidden, expected)
    plain = encode_text(base, tokenise(base, ["a flower"])).hidden
    assert torch.equal(encode_prompts(base, ["a flower"]).hidden, plain)
    assert torch.equal(encode_prompts(carrying, ["a flower"]).hidden, plain)


@pytest.fixture(scope="module")
def xl_folder(make_tiny_base) -> Path:
    return make_tiny_base(is_xl=True, text_gain=8.0)


@pytest.fixture(scope="module")
def xl_base(xl_folder):
    return load_base(xl_folder, "float32", "cpu")


def test_sdxl_s_prompts_are_encoded_as_diffusers_does(xl_folder, xl_base):
    prompts = ["a red lily", 'Photo of a "sword lily"']
    ours = encode_text(xl_base, tokenise(xl_base, prompts))
    pipeline = StableDiffusionXLPipeline.from_pretrained(xl_folder)
    with torch.no_grad():
        hidden, _, pooled, _ = pipeline.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False)
    torch.testing.assert_close(ours.hidden, hidden, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.pooled, pooled, rtol=0, atol=1e-6)


def test_sdxl_s_rows_are_those_of_two_enlarged_tables(xl_folder, xl_base):
    rows = torch.randn(2, 16 + 24, generator=torch.Generator().manual_seed(1))
    ours = encode_text(xl_base, tokenise(xl_base, PROMPTS, TOKEN, 2), rows)
    pipeline = StableDiffusionXLPipeline.from_pretrained(xl_folder)
    words = [TOKEN, f"{TOKEN}_1"]
    for tokenizer, encoder, part in (
        (pipeline.tokenizer, pipeline.text_encoder, rows[:, :16]),
        (pipeline.tokenizer_2, pipeline.text_encoder_2, rows[:, 16:]),
    ):
        tokenizer.add_tokens(words)
        encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        encoder.get_input_embeddings().weight.data[-2:] = part
    # this encoder's config has the wrong end token, as SDXL's has; transformers then takes the highest id for it
    pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id
    with torch.no_grad():
        hidden, _, pooled, _ = pipeline.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
    torch.testing.assert_close(ours.hidden, hidden, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.pooled, pooled, rtol=0, atol=1e-6)


def test_an_empty_prompt_is_what_the_base_asks_for(base, xl_base):
    torch.testing.assert_close(encode_empty_prompt(base).hidden, encode_text(base, tokenise(base, [""])).hidden)
    empty = encode_empty_prompt(xl_base)
    assert not empty.hidden.any()
    assert empty.pooled is not None and not empty.pooled.any()


def test_a_tiny_autoencoder_s_latents_have_no_spread(make_tiny_base, images):
    folder = make_tiny_base(is_tiny_vae=True)
    base = load_base(folder, "float32", "cpu")
    mean, std = encode_images(base, images)
    prepared = VaeImageProcessor(vae_scale_factor=4).preprocess([Image.fromarray(p.numpy()) for p in images])
    with torch.no_grad():
        expected = base.vae.encode(prepared).latents * base.vae.config.scaling_factor
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-6)
    assert not std.any()
    assert base.pixels_per_latent == 4 == 32 // mean.shape[-1]
