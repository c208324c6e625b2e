from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load, load_file

from flowerti.diffusion import load_base
from flowerti.personalization.encoding import encode_text, tokenise
from flowerti.personalization.textual_inversion.embedding_files import (
    add_concepts,
    diffusers_bytes,
    read_rows,
    web_bytes,
)

TOKEN = "<sword_lily>"
PROMPT = 'Photo of a "<sword_lily>"'


@pytest.fixture(scope="module")
def folder(make_tiny_base) -> Path:
    return make_tiny_base(text_gain=8.0)


@pytest.fixture(scope="module")
def xl_folder(make_tiny_base) -> Path:
    return make_tiny_base(text_gain=8.0, is_xl=True)


def _rows(width: int, seed: int = 1, num_vectors: int = 2) -> torch.Tensor:
    return torch.randn(num_vectors, width, generator=torch.Generator().manual_seed(seed))


def _draw(pipeline, prompt: str = PROMPT) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return pipeline(prompt, latents=noise, num_inference_steps=3, guidance_scale=3.0, output_type="np").images


def test_files_hold_what_their_readers_look_for():
    rows = _rows(16)
    assert {name: value.shape for name, value in load(diffusers_bytes(TOKEN, rows, [16])).items()} == {TOKEN: (2, 16)}
    assert {name: value.shape for name, value in load(web_bytes(rows, [16])).items()} == {"emb_params": (2, 16)}
    rows = _rows(40)
    for content in (diffusers_bytes(TOKEN, rows, [16, 24]), web_bytes(rows, [16, 24])):
        parts = load(content)
        assert set(parts) == {"clip_l", "clip_g"}
        assert torch.equal(parts["clip_l"], rows[:, :16]) and torch.equal(parts["clip_g"], rows[:, 16:])


@pytest.mark.parametrize("widths", [[16], [16, 24]])
def test_both_forms_come_back(widths):
    rows = _rows(sum(widths))
    for content in (diffusers_bytes(TOKEN, rows, widths), web_bytes(rows, widths)):
        assert torch.equal(read_rows(content, TOKEN), rows)


def test_a_file_of_another_token_is_refused():
    with pytest.raises(ValueError, match=r"holds <rose>, but no rows of token '<sword_lily>'"):
        read_rows(diffusers_bytes("<rose>", _rows(16), [16]), TOKEN)


@pytest.mark.parametrize("form", ["diffusers", "web"])
def test_added_concepts_draw_the_image_of_diffusers_own_loader(folder, tmp_path, form):
    rows = _rows(16)
    path = tmp_path / "learned_embeds.safetensors"
    path.write_bytes(diffusers_bytes(TOKEN, rows, [16]) if form == "diffusers" else web_bytes(rows, [16]))
    theirs = StableDiffusionPipeline.from_pretrained(folder)
    theirs.load_textual_inversion(str(path), token=None if form == "diffusers" else TOKEN)
    ours = StableDiffusionPipeline.from_pretrained(folder)
    before = _draw(ours, "a flower")
    add_concepts(ours, {TOKEN: read_rows(path.read_bytes(), TOKEN)})
    np.testing.assert_array_equal(_draw(ours), _draw(theirs))
    np.testing.assert_array_equal(_draw(ours, "a flower"), before)
    assert np.abs(_draw(ours) - before).max() > 4 / 255


def test_sdxl_s_file_draws_the_same_image_in_diffusers(xl_folder, tmp_path):
    rows = _rows(40)
    path = tmp_path / "learned_embeds.safetensors"
    path.write_bytes(diffusers_bytes(TOKEN, rows, [16, 24]))
    parts = load_file(path)
    theirs = StableDiffusionXLPipeline.from_pretrained(xl_folder)
    for part, encoder, tokenizer in (
        ("clip_l", theirs.text_encoder, theirs.tokenizer),
        ("clip_g", theirs.text_encoder_2, theirs.tokenizer_2),
    ):
        theirs.load_textual_inversion(parts[part], token=TOKEN, text_encoder=encoder, tokenizer=tokenizer)
    # diffusers takes the new token for the prompt's end where the config is as old as SDXL's
    theirs.text_encoder_2.text_model.eos_token_id = theirs.tokenizer_2.eos_token_id
    ours = StableDiffusionXLPipeline.from_pretrained(xl_folder)
    add_concepts(ours, {TOKEN: rows})
    np.testing.assert_array_equal(_draw(ours), _draw(theirs))
    base = load_base(xl_folder, "float32", "cpu")
    expected = encode_text(base, tokenise(base, [PROMPT], TOKEN, 2), rows)
    with torch.no_grad():
        hidden, _, pooled, _ = ours.encode_prompt(PROMPT, device="cpu", do_classifier_free_guidance=False)
    torch.testing.assert_close(expected.hidden, hidden, rtol=0, atol=1e-6)
    torch.testing.assert_close(expected.pooled, pooled, rtol=0, atol=1e-6)


def test_a_hundred_concepts_enlarge_the_table_once(folder, monkeypatch):
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    sizes = []
    real = pipeline.text_encoder.resize_token_embeddings
    monkeypatch.setattr(
        pipeline.text_encoder, "resize_token_embeddings", lambda n, **kw: sizes.append(n) or real(n, **kw)
    )
    num_before = len(pipeline.tokenizer)
    concepts = {f"<class{i}>": _rows(16, seed=i, num_vectors=1 + i % 3) for i in range(100)}
    add_concepts(pipeline, concepts)
    assert sizes == [num_before + sum(len(rows) for rows in concepts.values())]
    table = pipeline.text_encoder.get_input_embeddings().weight
    for token, rows in concepts.items():
        ids = pipeline.tokenizer(pipeline.maybe_convert_prompt(token, pipeline.tokenizer)).input_ids[1:-1]
        assert torch.equal(table[ids], rows)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"<a>": torch.zeros(1, 16), "<b>": torch.zeros(1, 24)}, r"'<b>': its rows are 24 wide, .* embedding 16"),
        ({"<a>": torch.zeros(1, 16), "lily": torch.zeros(1, 16)}, "'lily' exists already"),
        ({"<a>": torch.zeros(2, 16), "<a>_1": torch.zeros(1, 16)}, "two tokens share a word"),
    ],
)
def test_concepts_that_do_not_fit_change_nothing(folder, rows, problem):
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    # a single token such as "flow", which diffusers would overwrite
    pipeline.tokenizer.add_tokens("lily")
    num_before = (len(pipeline.tokenizer), pipeline.text_encoder.get_input_embeddings().num_embeddings)
    with pytest.raises(ValueError, match=problem):
        add_concepts(pipeline, rows)
    assert (len(pipeline.tokenizer), pipeline.text_encoder.get_input_embeddings().num_embeddings) == num_before
