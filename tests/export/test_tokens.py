"""Exported tokens mean in diffusers what they mean here, whatever their classes are called."""

import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import safe_open
from safetensors.torch import load_file
from small_export import NUM_VECTORS, SHA256, WEAK, WORDS, asking, rows_of, save_class

from flowerti.artifacts.layout import learned_file
from flowerti.diffusion import load_base
from flowerti.export.exporter import export_run
from flowerti.personalization.encoding import encode_prompts, token_of

EXPORTED = "{0}/{0}.safetensors"


@pytest.fixture
def tokens(run, tmp_path: Path) -> Path:
    (folder,) = export_run(run, str(tmp_path / "out"), asking("tokens"))
    return folder


def _states(pipeline: StableDiffusionPipeline, prompt: str) -> torch.Tensor:
    with torch.no_grad():
        return pipeline.encode_prompt(prompt, "cpu", 1, False)[0]


@pytest.mark.parametrize("class_name", WEAK)
@pytest.mark.parametrize("num_vectors", [1, 3])
def test_states_are_those_of_diffusers(run, base, tiny_base, tmp_path, monkeypatch, class_name, num_vectors):
    monkeypatch.setitem(NUM_VECTORS, class_name, num_vectors)
    save_class(run, base, class_name)
    (folder,) = export_run(run, str(tmp_path / "out"), asking("tokens"))
    word = WORDS[class_name]
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_base)
    pipeline.load_textual_inversion(str(folder / EXPORTED.format(word)))
    theirs = _states(pipeline, f'a photo of a "<{word}>", red')
    token = token_of(class_name)
    with_token = dataclasses.replace(base, token=token, token_rows=rows_of(class_name))
    with torch.no_grad():
        ours = encode_prompts(with_token, [f'a photo of a "{token}", red']).hidden
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
    assert (theirs - _states(pipeline, 'a photo of a "rose", red')).abs().max() > 0.1


def test_the_file_of_the_run_itself_is_read_otherwise_where_a_name_has_a_capital(run, tiny_base):
    """Why exported tokens have other words: diffusers finds the first of three rows only."""
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_base)
    pipeline.load_textual_inversion(run.path(learned_file("café", "learned_embeds.safetensors")))
    words = pipeline.maybe_convert_prompt(token_of("café"), pipeline.tokenizer)
    assert len(pipeline.tokenizer(words).input_ids) - 2 == 1 < NUM_VECTORS["café"]


def test_all_tokens_live_together_in_one_pipeline(tokens, tiny_base):
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_base)
    for name in WEAK:
        pipeline.load_textual_inversion(str(tokens / EXPORTED.format(WORDS[name])))
    table = pipeline.text_encoder.get_input_embeddings().weight
    prompt = " ".join(f"<{WORDS[name]}>" for name in WEAK)
    ids = pipeline.tokenizer(pipeline.maybe_convert_prompt(prompt, pipeline.tokenizer)).input_ids[1:-1]
    torch.testing.assert_close(table[ids], torch.cat([rows_of(name) for name in WEAK]))


def test_the_header_says_what_it_is(tokens):
    with safe_open(tokens / "ti-cafe/ti-cafe.safetensors", "pt") as opened:
        metadata = opened.metadata()
        assert list(opened.keys()) == ["<ti-cafe>"]
    # what the specification demands
    for key in ("sai_model_spec", "architecture", "implementation", "title"):
        assert metadata[f"modelspec.{key}"]
    assert metadata["modelspec.architecture"].endswith("/textual-inversion")
    assert metadata["modelspec.trigger_phrase"] == "ti-cafe" and metadata["modelspec.resolution"] == "32x32"
    assert metadata["flowerti.base_sha256"] == SHA256 and metadata["flowerti.class_name"] == "café"
    assert not [key for key in metadata if "date" in key]


def test_bytes_are_the_same_again(run, tokens, tmp_path):
    (again,) = export_run(run, str(tmp_path / "again"), asking("tokens"))
    files = sorted(path.relative_to(tokens) for path in tokens.rglob("*") if path.is_file())
    assert len(files) == len(WEAK) * 6
    assert all((tokens / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_the_snippet_of_the_card_runs_where_the_card_lies(tokens, tiny_base, monkeypatch):
    card = (tokens / "ti-cafe/README.md").read_text(encoding="utf-8")
    snippet = card.split("```python\n")[1].split("```")[0]
    folder = tokens / "ti-cafe"
    (folder / tiny_base.name).symlink_to(tiny_base)
    monkeypatch.chdir(folder)
    shown: dict = {}
    exec(snippet, shown)  # our own text
    assert shown["image"].size == (32, 32)
    assert "<ti-cafe>_2" in shown["pipeline"].tokenizer.get_vocab()


def test_the_card_is_one_of_the_hub_and_shows_drawn_images_alone(tokens, tiny_base):
    from huggingface_hub import ModelCard

    card = ModelCard.load(tokens / "ti-tulip/README.md")
    assert card.data.base_model == tiny_base.name and card.data.base_model_relation == "adapter"
    assert card.data.library_name == "diffusers" and "textual_inversion" in card.data.tags
    shown = [one["output"]["url"] for one in card.data.widget]
    assert shown == [f"images/token-{i:06d}.png" for i in range(4)]
    assert sorted(p.name for p in (tokens / "ti-tulip/images").iterdir()) == [name.split("/")[1] for name in shown]
    assert card.data.widget[0]["text"] == 'Photo of a "<ti-tulip>"'
    assert str(tiny_base.parent) not in card.content


def test_sdxl_is_loaded_as_its_snippet_says(make_tiny_base, tmp_path, monkeypatch):
    from small_export import make_run

    from flowerti.personalization.textual_inversion.embedding_files import diffusers_bytes

    xl_folder = make_tiny_base(is_xl=True)
    xl = load_base(xl_folder, "float32", "cpu")
    run = make_run(tmp_path, xl_folder, xl)
    learned, rows = _as_xl(run, diffusers_bytes)
    (folder,) = export_run(run, str(tmp_path / "out"), asking("tokens"))
    own = folder / "ti-cafe"
    assert set(load_file(own / "ti-cafe.safetensors")) == {"clip_l", "clip_g"}
    snippet = (own / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("image = ")[0]
    (own / xl_folder.name).symlink_to(xl_folder)
    monkeypatch.chdir(own)
    shown: dict = {}
    exec(snippet, shown)  # our own text
    assert isinstance(shown["pipeline"], StableDiffusionXLPipeline)
    with torch.no_grad():
        hidden, _, pooled, _ = shown["pipeline"].encode_prompt(
            "a <ti-cafe>", device="cpu", do_classifier_free_guidance=False
        )
        with_token = dataclasses.replace(xl, token=learned.token, token_rows=rows)
        ours = encode_prompts(with_token, [f"a {learned.token}"])
    torch.testing.assert_close(hidden, ours.hidden, rtol=0, atol=1e-5)
    torch.testing.assert_close(pooled, ours.pooled, rtol=0, atol=1e-5)


def _as_xl(run, diffusers_bytes):
    from flowerti.artifacts.records import Learned
    from flowerti.personalization.store import save_learned

    rows = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    learned = Learned(class_name="café", technique="textual_inversion", token=token_of("café"), num_vectors=3)
    files = {"learned_embeds.safetensors": diffusers_bytes(learned.token, rows, [16, 24])}
    return save_learned(run, learned, files, "k"), rows


def test_a_file_that_was_changed_is_refused(run, tmp_path):
    run.write_bytes(learned_file("café", "learned_embeds.safetensors"), b"other")
    with pytest.raises(ValueError, match=r"learned_embeds\.safetensors is not what was learnt"):
        export_run(run, str(tmp_path / "out"), asking("tokens"))
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".tmp-*"))


def test_a_learning_without_tokens_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match="no token has been learnt"):
        export_run(run, str(tmp_path / "out"), asking("tokens", learning=1))
