"""Folders of images: classes, order, suffixes, and what is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from noise_folder import config_of, save_noise
from PIL import Image

from flowerti.data.access import list_records, read_image, reader_of
from flowerti.data.census import take_census
from flowerti.data.dataset import SPLITS, count_by_split


def test_folders_become_classes_in_sorted_order(folder: Path):
    dataset = list_records(config_of(folder), 0)
    assert dataset.class_names == ("Zinnia", "azalea", "sword lily")
    assert [count_by_split(dataset)[1, split] for split in SPLITS] == [3, 2, 2]
    records = dataset.of("train", "sword lily")
    assert [r.id for r in records] == [f"train/sword lily/{i}.png" for i in range(3)]
    assert {r.class_id for r in records} == {2}
    assert len(dataset.of("test")) == 6
    assert list_records(config_of(folder), 9) == dataset, "the seed does not matter to files"


def test_an_image_of_a_folder_is_read_by_its_address(folder: Path):
    record = list_records(config_of(folder), 0).of("train", "Zinnia")[1]
    expected = np.asarray(Image.open(folder / "train" / "Zinnia" / "1.png"))
    assert np.array_equal(read_image(record.address, 12), expected)
    assert reader_of(record.address).identify(record.address) == (folder / "train" / "Zinnia" / "1.png").read_bytes()


def test_other_files_are_no_images_and_are_told(folder: Path):
    before = list_records(config_of(folder), 0)
    assert before.notes == ()
    (folder / "train" / "azalea" / "notes.txt").write_text("x")
    (folder / "test" / "azalea" / "more.TXT").write_text("x")
    (folder / "train" / "azalea" / ".DS_Store").write_bytes(b"x")
    (folder / "train" / "readme.md").write_text("x")
    after = list_records(config_of(folder), 0)
    assert after.records == before.records
    assert after.notes == (
        "left out: 1 .md file, no image (train/readme.md)",
        "left out: 2 .txt files, no image (test/azalea/more.TXT, ...)",
        "left out: 1 hidden or system file (train/azalea/.DS_Store)",
    )


def test_suffixes_are_read_in_either_case(folder: Path):
    save_noise(folder / "train" / "azalea" / "SHOUTED.JPG", 99)
    assert len(list_records(config_of(folder), 0).of("train", "azalea")) == 4


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("keep_folder", [True, False])
def test_a_missing_split_is_listed_as_missing(folder: Path, split: str, keep_folder: bool):
    shutil.rmtree(folder / split)
    if keep_folder:
        (folder / split).mkdir()
    dataset = list_records(config_of(folder), 0)
    assert dataset.missing == (split,)
    assert dataset.notes == ((f"left out: 1 folder without images ({split})",) if keep_folder else ())
    assert len(dataset.records) == 15


def test_a_folder_without_training_images_is_refused_unless_all_are_pooled(folder: Path):
    shutil.rmtree(folder / "train")
    with pytest.raises(ValueError, match=r"^data\.root: .* has no training images.*name the folder.*resplit") as caught:
        list_records(config_of(folder), 0)
    assert str(folder) in str(caught.value)
    assert len(list_records(config_of(folder), 0, is_pooled=True).records) == 12


def test_splits_do_not_matter_to_images_that_are_pooled(folder: Path):
    shutil.rmtree(folder / "test" / "azalea")
    assert len(list_records(config_of(folder), 0, is_pooled=True).records) == 19


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("keep_folder", [True, False])
def test_a_class_without_images_in_a_split_is_named(folder: Path, split: str, keep_folder: bool):
    shutil.rmtree(folder / split / "azalea")
    if keep_folder:
        (folder / split / "azalea").mkdir()
    with pytest.raises(ValueError, match=f"class 'azalea' has no images in the {split} split.*: add some") as caught:
        list_records(config_of(folder), 0)
    assert str(folder) in str(caught.value)


def test_one_class_is_no_classification(folder: Path):
    for split in SPLITS:
        shutil.rmtree(folder / split / "azalea")
        shutil.rmtree(folder / split / "Zinnia")
    with pytest.raises(ValueError, match="1 classes found: at least 2"):
        list_records(config_of(folder), 0)


def test_a_class_folder_with_unprintable_characters_is_named(folder: Path):
    for split in SPLITS:
        (folder / split / "Zinnia").rename(folder / split / "zin\nnia")
    with pytest.raises(ValueError, match=r"'zin\\nnia'.*rename it"):
        list_records(config_of(folder), 0)


def test_reading_a_missing_image_names_it(tmp_path: Path):
    with pytest.raises(ValueError, match=r"gone\.png cannot be read"):
        read_image(str(tmp_path / "gone.png"), 8)


def test_a_folder_brings_no_names_and_its_images_are_hashed_by_their_bytes(folder: Path):
    config = config_of(folder)
    before = take_census(list_records(config, 0), config)
    save_noise(folder / "test" / "azalea" / "0.png", 500)
    after = take_census(list_records(config, 0), config)
    assert after.fingerprint != before.fingerprint
    assert after.train_sha256 == before.train_sha256
