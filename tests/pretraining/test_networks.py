"""The base's parts against the libraries that load them."""

import re

from tiny_pretraining import SIZES
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from flowerti.data.sources.herbarium.species import RARE
from pretraining.herbarium import draw_examples
from pretraining.networks import build_tokenizer, byte_alphabet
from pretraining.recipe import PretrainConfig


def test_the_byte_alphabet_is_that_of_clip():
    assert byte_alphabet() == list(bytes_to_unicode().values())


def test_the_tokenizer_makes_words_of_captions_single_tokens(tmp_path):
    captions = [c for group in draw_examples(PretrainConfig(sizes=SIZES), 0, 250).captions for c in group]
    build_tokenizer(captions).save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    for word in ("flower", "daisy", "sunflower", "petals", "photo", "blue", "five", "heart"):
        assert loaded.tokenize(word) == [f"{word}</w>"]
    for species in RARE:
        assert len(loaded.tokenize(species.name)) > 1
    assert loaded.model_max_length == 32
    text = 'photo of a "blue star flower"'
    assert loaded.decode(loaded(text).input_ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")
    assert loaded("é ☃").input_ids.count(loaded.unk_token_id) == 1  # the end; every byte has an entry
    ids = loaded("a photo", padding="max_length").input_ids
    assert ids[0] == loaded.bos_token_id
    assert set(ids[3:]) == {loaded.eos_token_id}


def test_the_shipped_base_is_complete_and_small():
    from flowerti.base_files import DEMO_BASE

    files = [path for path in DEMO_BASE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 16_000_000
    assert not [p.name for p in files if re.search(r"\.(bin|ckpt|pt|pkl|pickle)$", p.name)]
    tokenizer = CLIPTokenizer.from_pretrained(DEMO_BASE / "tokenizer")
    assert tokenizer.tokenize("flower") == ["flower</w>"]
    for species in RARE:
        assert len(tokenizer.tokenize(species.name)) > 1
