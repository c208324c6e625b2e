"""What the README shows in Python runs as it stands there."""

import re
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]


def test_a_token_with_a_word_s_rows_draws_that_word_s_image(tmp_path, monkeypatch):
    """The run that the README's lines read is no part of a fresh check-out: its file is written here, with rows whose
    image is known, those of a word that the base has."""
    import torch

    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "flowerti").symlink_to(ROOT / "flowerti")
    _write_token(tmp_path / "results/demo/concepts/velmora/learned_embeds.safetensors", "<velmora>", "sunflower")
    monkeypatch.chdir(tmp_path)
    shown: dict = {}
    with torch.random.fork_rng(devices=[]):
        exec(block, shown)  # our own text
        assert shown["image"].size == (64, 64)
        of_token = _draw(shown["pipeline"], "<velmora>")
        of_word = _draw(shown["pipeline"], "sunflower")
        of_another_word = _draw(shown["pipeline"], "lupin")
    np.testing.assert_array_equal(of_token, of_word)
    assert np.abs(of_token - of_another_word).mean() > 4


def _write_token(path: Path, token: str, word: str) -> None:
    from transformers import CLIPTextModel, CLIPTokenizer

    from flowerti.personalization.textual_inversion.embedding_files import diffusers_bytes

    base = ROOT / "flowerti/demo/base"
    (word_id,) = CLIPTokenizer.from_pretrained(base / "tokenizer").encode(word, add_special_tokens=False)
    encoder: Any = CLIPTextModel.from_pretrained(base / "text_encoder")
    table = encoder.get_input_embeddings().weight
    path.parent.mkdir(parents=True)
    path.write_bytes(diffusers_bytes(token, table[[word_id]], [table.shape[1]]))


def _draw(pipeline: Any, word: str) -> np.ndarray:
    """A prompt with this word from the same noise."""
    import torch

    noise = torch.Generator().manual_seed(0)
    prompt = f'Photo of a "{word}"'
    return np.asarray(
        pipeline(prompt, num_inference_steps=10, guidance_scale=1.5, generator=noise).images[0], dtype=float
    )
