"""The herbarium as a data source: counts, order, seeds and names."""

import dataclasses
from collections import Counter

import numpy as np

from flowerti.config.data import DataConfig
from flowerti.data.access import list_records, read_image, read_images, reader_of
from flowerti.data.dataset import SPLITS
from flowerti.data.sources.herbarium.herbarium import draw, fingerprint
from flowerti.data.sources.herbarium.source import HERBARIUM as SOURCE
from flowerti.data.sources.herbarium.species import SPECIES

HERBARIUM = DataConfig(kind="herbarium", num_train_common=5, num_train_rare=2, num_validation=3, num_test=4)


def test_the_herbarium_has_the_counts_that_were_asked_for():
    dataset = list_records(HERBARIUM, 0)
    assert dataset.class_names == tuple(s.name for s in SPECIES)
    found = Counter((r.class_id, r.split) for r in dataset.records)
    for class_id, species in enumerate(SPECIES):
        assert found[class_id, "train"] == (2 if species.rare else 5)
        assert found[class_id, "validation"] == 3
        assert found[class_id, "test"] == 4
    assert {s.rare for s in SPECIES} == {True, False}
    assert len({r.id for r in dataset.records}) == len(dataset.records)


def test_the_herbariums_splits_share_no_image():
    dataset = list_records(HERBARIUM, 0)
    assert len({r.address for r in dataset.records}) == len(dataset.records)
    firsts = [read_image(dataset.of(split)[0].address, 16) for split in SPLITS]
    assert len({image.tobytes() for image in firsts}) == 3


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others():
    first, again, other = (list_records(HERBARIUM, seed) for seed in (1, 1, 2))
    assert first == again
    assert {r.address for r in first.records}.isdisjoint(r.address for r in other.records)
    assert [r.id for r in first.records] == [r.id for r in other.records]
    images = [read_images([r.address for r in d.records[::40]], 16) for d in (first, again, other)]
    assert images[0].tobytes() == images[1].tobytes()
    same = [np.array_equal(a, b) for a, b in zip(images[0], images[2], strict=True)]
    assert not any(same)


def test_more_images_of_a_split_leave_the_first_ones_as_they_are():
    more = dataclasses.replace(HERBARIUM, num_validation=6)
    few, many = list_records(HERBARIUM, 0), list_records(more, 0)
    assert set(few.records) < set(many.records)


def test_an_address_says_all_that_an_image_depends_on():
    address = "herbarium:lily:17"
    assert np.array_equal(read_image(address, 24), draw("lily", 17, 24))
    reader = reader_of(address)
    assert reader.identify(address) == f"{address}:{fingerprint()}".encode()
    assert reader.stamp_of(address) == f"{address}:{fingerprint()}"


def test_only_a_species_that_is_described_in_plain_words_has_another_name():
    known = {name: names.alternative for name, names in SOURCE.known_names().items() if names.alternative}
    assert known == {"velmora": "blue star flower"}
    assert all(not names.latin for names in SOURCE.known_names().values())
