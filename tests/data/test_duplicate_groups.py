"""Groups of alike images: copies stored again, mirrored or renamed; and the flowers' cut against the scoring."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from noise_folder import config_of, save_noise
from PIL import Image, ImageOps

from flowerti.config.experiment import DataConfig
from flowerti.config.presets import flowers102_64_long_tail
from flowerti.data.access import list_records
from flowerti.data.dataset import count_by_split
from flowerti.data.duplicate_groups import duplicate_groups
from flowerti.data.image_pass import ImagePass
from flowerti.data.imbalance import imbalanced
from flowerti.scoring.copies import near_duplicates


def groups_of(config: DataConfig) -> list[list[str]]:
    return duplicate_groups(list_records(config, 0).records, ImagePass(config, with_thumbnails=True))


def test_copies_are_grouped_across_classes_and_from_one_to_the_next(folder: Path):
    config = config_of(folder, image_size_px=32)
    assert groups_of(config) == []
    original = folder / "train" / "azalea" / "0.png"
    save_noise(original, 7, 32)
    with Image.open(original) as image:
        image.save(folder / "train" / "Zinnia" / "again.bmp")
        ImageOps.mirror(image).save(folder / "test" / "azalea" / "mirrored.png")
    assert groups_of(config) == [["test/azalea/mirrored.png", "train/Zinnia/again.bmp", "train/azalea/0.png"]]


def test_images_of_one_colour_are_alike_only_byte_for_byte(folder: Path):
    for name, level in (("a", 90), ("b", 90), ("c", 160)):
        Image.fromarray(np.full((12, 12, 3), level, dtype=np.uint8)).save(folder / "train" / "azalea" / f"{name}.png")
    assert groups_of(config_of(folder)) == [["train/azalea/a.png", "train/azalea/b.png"]]


def test_an_unreadable_image_is_named_or_like_no_other(folder: Path):
    (folder / "train" / "azalea" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"azalea/0\.png"):
        groups_of(config_of(folder))
    assert groups_of(config_of(folder, skip_unreadable=True)) == []


def test_blocks_do_not_hide_a_pair(folder: Path, monkeypatch: pytest.MonkeyPatch):
    from flowerti.data import duplicate_groups as module

    for i, split in enumerate(("train", "validation", "test")):
        save_noise(folder / split / "azalea" / f"same-{i}.png", 50)
    expected = groups_of(config_of(folder))
    assert [len(group) for group in expected] == [3]
    monkeypatch.setattr(module, "_BLOCK", 4)
    assert groups_of(config_of(folder)) == expected


@pytest.mark.slow
def test_no_near_duplicates_straddle_the_flowers_long_tail_and_no_count_changes(shared_root: Path):
    experiment = flowers102_64_long_tail()
    listed = list_records(DataConfig(kind="flowers102", root=str(shared_root / "data" / "flowers102-64")), 0)
    images = ImagePass(experiment.data, with_thumbnails=True)
    alike = duplicate_groups(listed.records, images)
    before = imbalanced(listed, experiment.imbalance, 0)
    after = imbalanced(listed, experiment.imbalance, 0, alike)

    def straddling(dataset) -> Counter:
        flat = np.stack([look.thumbnail for look in images.of(dataset.records)])
        found = near_duplicates(dataset.records, dataset.class_names, flat)
        return Counter((pair.first_split, pair.second_split) for pair in found)

    assert straddling(before) == {("train", "test"): 14, ("train", "validation"): 8, ("validation", "test"): 3}
    assert straddling(after) == {}
    assert count_by_split(after) == count_by_split(before)
