"""Examples of the herbarium: the same wherever blocks are cut and as ever, without the species that are held out."""

import hashlib
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from tiny_pretraining import CONFIG

from flowerti.base_files import DEMO_BASE, find_training_images
from flowerti.config.base import BaseConfig
from flowerti.config.data import DataConfig, ImbalanceConfig
from flowerti.data.access import list_records, read_image
from flowerti.data.images import pixel_sha256
from flowerti.data.sources.herbarium.herbarium import draw_traits
from flowerti.data.sources.herbarium.species import COMMON, SPECIES, random_traits, sample_traits, species_named
from pretraining.allowed_images import AllowedImages
from pretraining.blocks import example_blocks
from pretraining.herbarium import draw_examples
from pretraining.recipe import PretrainConfig

CAPTIONS_OF_THE_FIRST = [
    "a photo of a daisy",
    "a dark photo of a daisy",
    "a photo of one flower with strap petals and a orange button",
    "a photo of the cool yellow flower with fourteen strap petals and a orange button",
]
HERBARIUM = AllowedImages(data=DataConfig(kind="herbarium", image_size_px=32))


def test_examples_do_not_depend_on_blocks(examples):
    blocks = [draw_examples(CONFIG, 0, 5), draw_examples(CONFIG, 5, 12)]
    assert np.array_equal(np.concatenate([block.images for block in blocks]), examples.images[:12])
    captions = [group for block in blocks for group in block.captions]
    assert captions == examples.captions[:12]
    assert {len(group) for group in captions} == {CONFIG.captions_per_image}


def test_examples_are_those_that_the_shipped_base_learnt_from(examples):
    captions = hashlib.sha256(json.dumps(examples.captions).encode()).hexdigest()
    assert examples.captions[0] == CAPTIONS_OF_THE_FIRST
    assert captions[:16] == "e82183aa0ac1528e"  # of the code before other data could be learnt from
    for index, species in ((0, COMMON[0]), (1, None), (2, COMMON[1])):
        rng = np.random.default_rng([CONFIG.seed, index])
        traits = sample_traits(species, rng) if species else random_traits(rng)
        assert np.array_equal(examples.images[index], draw_traits(traits, rng, 32))


def test_no_image_of_a_data_set_is_among_those_that_the_shipped_base_learnt_from(examples):
    """Which its `training_images.json` says in place of a list."""
    known = find_training_images(BaseConfig(path="demo"), DEMO_BASE)
    assert known is not None
    assert "from the seeds [0, 0] to [0, 19999]" in known.drawn
    assert (PretrainConfig().seed, PretrainConfig().num_images) == (0, 20_000)
    # the first word of the seed tells them apart: 0 there, the species' own number here
    assert 0 not in {zlib.crc32(species.name.encode()) for species in SPECIES}
    config = DataConfig(kind="herbarium", num_train_common=2, num_train_rare=2, num_validation=2, num_test=2)
    records = [record for seed in (0, 1) for record in list_records(config, seed).records]
    of_runs = {pixel_sha256(read_image(record.address, 32)) for record in records}
    assert len(of_runs) == len(records)
    assert not of_runs & {pixel_sha256(image) for image in examples.images}


def test_the_herbarium_draws_its_own_examples_in_blocks(examples):
    blocks = example_blocks(CONFIG, HERBARIUM)
    found = [block() for block in blocks]
    assert np.array_equal(np.concatenate([block.images for block in found]), examples.images)
    assert [len(block().images) for block in example_blocks(replace(CONFIG, num_images=3), HERBARIUM)] == [3]


def test_a_species_that_is_held_out_is_neither_named_nor_drawn():
    held_out = [species.name for species in COMMON[2:]]
    examples = draw_examples(CONFIG, 0, 40, held_out)
    captions = " ".join(caption for group in examples.captions for caption in group)
    assert COMMON[0].name in captions
    assert COMMON[1].name in captions
    assert not [name for name in held_out if name in captions]
    # most random traits are those of no species: the ones that are not come out as before
    before, hidden = draw_examples(CONFIG, 0, 40), draw_examples(CONFIG, 0, 40, [COMMON[2].name])
    same = [np.array_equal(a, b) for a, b in zip(before.images[1::2], hidden.images[1::2], strict=True)]
    rngs = [np.random.default_rng([CONFIG.seed, index]) for index in range(1, 40, 2)]
    kept = [not _is_drawn_as(COMMON[2].name, random_traits(rng).form()) for rng in rngs]
    assert same == kept


def _is_drawn_as(name: str, form: tuple) -> bool:
    species = species_named(name)
    forms = [
        (species.arrangement, num, species.petal_shape, species.pattern, species.centre) for num in species.num_petals
    ]
    return form in forms


def test_what_cannot_be_held_out_or_cut_is_refused():
    with pytest.raises(ValueError, match="held_out_classes: unknown class 'dasy': did you mean daisy"):
        example_blocks(CONFIG, replace(HERBARIUM, held_out_classes=("dasy",)))
    with pytest.raises(ValueError, match="all classes are held out"):
        example_blocks(CONFIG, replace(HERBARIUM, held_out_classes=tuple(s.name for s in COMMON)))
    with pytest.raises(ValueError, match="imbalance"):
        example_blocks(CONFIG, replace(HERBARIUM, imbalance=ImbalanceConfig(resplit=True)))
    with pytest.raises(ValueError, match=r"data.image_size_px is 64 and config.sizes.sample_px 32"):
        example_blocks(CONFIG, AllowedImages())
