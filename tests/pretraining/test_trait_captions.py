"""Captions: the inversion templates, only true words, and never the name of a rare species."""

import re
from itertools import pairwise

import numpy as np
import pytest

from flowerti.data.sources.herbarium.species import COMMON, RARE, random_traits, sample_traits
from flowerti.prompts import TEMPLATES
from pretraining.trait_captions import NUMBER_WORDS, sample_caption


@pytest.fixture(scope="module")
def captioned():
    """(traits, species, caption) of many samples."""
    rng = np.random.default_rng(0)
    samples = []
    for i in range(6000):
        species = COMMON[i % len(COMMON)] if i % 2 else None
        traits = sample_traits(species, rng) if species else random_traits(rng)
        samples.append((traits, species, sample_caption(traits, species, rng)))
    return samples


def test_rare_names_never_occur(captioned):
    for species in RARE:
        assert not any(species.name in caption.lower() for _, _, caption in captioned)


def test_rare_species_get_no_caption():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="'quillane' is rare"):
        sample_caption(sample_traits(RARE[1], rng), RARE[1], rng)


def test_every_caption_is_a_template_or_the_raw_prompt(captioned):
    forms = [*TEMPLATES, 'Photo of a "{}"']
    patterns = [re.compile(re.escape(form).replace(r"\{\}", "(.+)")) for form in forms]
    used = {p.pattern for p in patterns for _, _, caption in captioned if p.fullmatch(caption)}
    assert used == {p.pattern for p in patterns}
    assert all(any(p.fullmatch(caption) for p in patterns) for _, _, caption in captioned)


def test_common_names_belong_to_their_own_images(captioned):
    for _, species, caption in captioned:
        said = {s.name for s in COMMON if s.name in caption.split('"')[-2 if '"' in caption else 0]}
        assert said <= ({species.name} if species else set())
    named = [species.name in caption for _, species, caption in captioned if species]
    assert 0.70 < np.mean(named) < 0.80


def test_numbers_and_petal_colours_are_true(captioned):
    for traits, _, caption in captioned:
        words = re.findall(r"[a-z]+", caption.lower())
        numbers = {w for w, following in pairwise(words) if w in NUMBER_WORDS and w != "one"}
        assert numbers <= {NUMBER_WORDS[traits.num_petals]}
        for colour in re.findall(r"(\w+) (?:star |double |full |bell )*flower", caption):
            if colour in ("white", "yellow", "orange", "red", "pink", "purple", "blue"):
                assert colour == traits.petal_colour


def test_flower_and_the_alternative_names_are_known_words(captioned):
    captions = [caption for _, _, caption in captioned]
    assert np.mean(["flower" in caption for caption in captions]) > 0.3
    for species in RARE:
        if species.alternative_name:
            assert any(species.alternative_name in caption for caption in captions)
