"""The census: what it counts, names and refuses, and what its fingerprint follows."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from noise_folder import config_of, save_noise

from flowerti.config.experiment import DataConfig
from flowerti.data.access import list_records
from flowerti.data.census import census_key, digest_of_class, listing_key, take_census
from flowerti.data.dataset import Dataset, without
from flowerti.data.image_hashes import ImageHashes
from flowerti.data.image_pass import ImagePass


def break_image(path: Path, how: str) -> None:
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_bytes(b"<html>404 not found</html>")
    else:
        path.unlink()
        path.symlink_to(path.with_name("gone"))


def looked(config: DataConfig) -> ImageHashes:
    return ImageHashes(None, ImagePass(config))


BROKEN = ["truncated", "empty", "text", "dangling link"]


@pytest.mark.parametrize("how", BROKEN)
def test_an_unreadable_image_is_named(folder: Path, how: str):
    broken = folder / "validation" / "azalea" / "1.png"
    break_image(broken, how)
    dataset = list_records(config_of(folder), 0)
    with pytest.raises(ValueError, match=r"^image .*skip_unreadable"):
        listing_key(dataset, looked(config_of(folder)))
    with pytest.raises(ValueError, match=r"^image .*skip_unreadable") as caught:
        take_census(dataset, config_of(folder))
    assert str(broken.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", BROKEN)
def test_an_unreadable_image_can_be_left_out_and_is_listed(folder: Path, how: str):
    break_image(folder / "validation" / "azalea" / "1.png", how)
    dataset = list_records(config_of(folder), 0)
    census = take_census(dataset, config_of(folder, skip_unreadable=True))
    assert census.unreadable == ["validation/azalea/1.png"]
    azalea = next(c for c in census.counts if c.class_name == "azalea")
    assert (azalea.num_train, azalea.num_validation, azalea.num_test) == (3, 1, 2)
    kept = without(dataset, census.unreadable)
    assert len(kept.records) == len(dataset.records) - 1
    assert kept.class_names == dataset.class_names


def test_a_class_that_is_all_unreadable_is_named_even_when_skipping(folder: Path):
    for file in (folder / "test" / "azalea").iterdir():
        break_image(file, "text")
    with pytest.raises(ValueError, match=r"'azalea' has no images in the test split"):
        take_census(list_records(config_of(folder), 0), config_of(folder, skip_unreadable=True))


def test_byte_identical_images_across_splits_are_found(folder: Path):
    shutil.copy(folder / "train" / "azalea" / "0.png", folder / "test" / "azalea" / "copy.png")
    shutil.copy(folder / "train" / "azalea" / "0.png", folder / "validation" / "Zinnia" / "other.png")
    shutil.copy(folder / "train" / "azalea" / "1.png", folder / "train" / "azalea" / "within.png")
    census = take_census(list_records(config_of(folder), 0), config_of(folder))
    assert census.duplicates == [["test/azalea/copy.png", "train/azalea/0.png", "validation/Zinnia/other.png"]]


def test_fingerprint_and_listing_follow_content(folder: Path):
    def both() -> tuple[str, str]:
        dataset = list_records(config_of(folder), 0)
        hashes = looked(config_of(folder))
        return take_census(dataset, config_of(folder)).fingerprint, listing_key(dataset, hashes)

    before = both()
    assert both() == before
    file = folder / "train" / "azalea" / "0.png"
    content = file.read_bytes()
    save_noise(file, 500, 20)
    changed = both()
    assert changed[0] != before[0]
    assert changed[1] != before[1]
    file.write_bytes(content)
    assert both() == before
    file.rename(file.with_name("renamed.png"))
    assert both()[1] != before[1]


def test_the_fingerprint_does_not_name_the_machine(folder: Path, tmp_path: Path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    censuses = [take_census(list_records(config_of(f), 0), config_of(f)) for f in (folder, moved)]
    assert censuses[0] == censuses[1]
    assert str(tmp_path) not in json.dumps(dataclasses.asdict(censuses[0]))


def test_a_class_is_kept_under_the_digest_of_its_training_images_in_their_order(folder: Path):
    dataset = list_records(config_of(folder), 0)
    census = take_census(dataset, config_of(folder))
    assert set(census.train_sha256) == set(dataset.class_names)
    for name in dataset.class_names:
        files = sorted((folder / "train" / name).iterdir())
        parts = b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)
        assert digest_of_class(census, name) == hashlib.sha256(parts).hexdigest()
    with pytest.raises(ValueError, match=r"^class 'tulip' is not in the census: it has Zinnia, azalea, sword lily"):
        digest_of_class(census, "tulip")
    turned = take_census(Dataset(dataset.class_names, dataset.records[::-1]), config_of(folder))
    assert turned.fingerprint == census.fingerprint
    assert digest_of_class(turned, "azalea") != digest_of_class(census, "azalea")


def test_a_new_image_of_one_class_leaves_the_digests_of_the_others(folder: Path):
    before = take_census(list_records(config_of(folder), 0), config_of(folder))
    save_noise(folder / "train" / "azalea" / "9.png", 900)
    after = take_census(list_records(config_of(folder), 0), config_of(folder))
    changed = {name for name in before.train_sha256 if after.train_sha256[name] != before.train_sha256[name]}
    assert changed == {"azalea"}


def test_an_unreadable_image_has_no_part_in_a_digest(folder: Path):
    break_image(folder / "train" / "azalea" / "1.png", "text")
    skipping = config_of(folder, skip_unreadable=True)
    broken = take_census(list_records(skipping, 0), skipping)
    (folder / "train" / "azalea" / "1.png").unlink()
    assert take_census(list_records(skipping, 0), skipping).train_sha256 == broken.train_sha256


def test_a_census_is_taken_again_where_a_listing_or_what_is_skipped_changes(folder: Path):
    dataset, config = list_records(config_of(folder), 0), config_of(folder)
    hashes = looked(config)
    key = census_key(dataset, config, hashes)
    assert census_key(dataset, config, looked(config)) == key
    assert census_key(dataset, config_of(folder, skip_unreadable=True), hashes) != key
    assert census_key(Dataset(dataset.class_names, dataset.records[::-1]), config, hashes) != key


def test_drawn_images_are_all_different():
    config = DataConfig(kind="herbarium", num_train_common=5, num_train_rare=2, num_validation=3, num_test=4)
    assert take_census(list_records(config, 0), config).duplicates == []


def test_oxfords_straddling_pairs_are_exactly_three(shared_root: Path):
    config = DataConfig(kind="flowers102", root=str(shared_root / "data" / "flowers102-64"))
    census = take_census(list_records(config, 0), config)
    pairs = [(7015, 7040), (7307, 7309), (8067, 8077)]
    assert census.duplicates == [[f"image_{number:05d}.jpg" for number in pair] for pair in pairs]
    assert census.unreadable == []
