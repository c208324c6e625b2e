"""How a folder will be cut, and what that leaves out, against counts by hand."""

import shutil
from pathlib import Path

import pytest
from drawn_folders import draw_classes

from flowerti.choosing.facts import find_cut, gather
from flowerti.config.experiment import DataConfig


def config(root: Path) -> DataConfig:
    return DataConfig(kind="image_folder", root=str(root), image_size_px=32, skip_unreadable=True)


def counts_of(root: Path) -> dict[str, tuple[int, int, int]]:
    return {c.class_name: (c.num_train, c.num_validation, c.num_test) for c in find_cut(config(root)).counts}


def test_class_folders_are_cut_with_four_images_held_out_twice(tmp_path: Path):
    draw_classes(tmp_path, {"rose": 20, "lily": 16, "tulip": 12, "few": 11, "rare": 3})
    # a fifth of 20 are 4, a quarter are 5; of 16 and 12 at least 4 each; of 11 the shares, 2 and 3; of 3 one each
    assert counts_of(tmp_path) == {
        "few": (6, 2, 3),
        "lily": (8, 4, 4),
        "rare": (1, 1, 1),
        "rose": (11, 4, 5),
        "tulip": (4, 4, 4),
    }
    found = find_cut(config(tmp_path))
    assert [count.class_name for count in found.weak] == ["lily", "rose", "tulip"]
    assert (found.left_out, found.resplit, found.is_made) == ({}, False, True)


def test_classes_that_cannot_be_split_are_left_out(tmp_path: Path):
    draw_classes(tmp_path, {"rose": 12, "lily": 12, "pair": 2, "one": 1})
    draw_classes(tmp_path, {"same": 1})
    for index in range(1, 4):
        shutil.copy(tmp_path / "same" / "0.png", tmp_path / "same" / f"{index}.png")
    found = find_cut(config(tmp_path))
    assert found.left_out == {
        "one": "1 image for 3 splits",
        "pair": "2 images for 3 splits",
        "same": "1 different readable images for 3 splits",
    }
    assert [count.class_name for count in found.counts] == ["lily", "rose"]


def test_a_folder_s_own_splits_stay(tmp_path: Path):
    for split, num in (("train", 6), ("val", 4), ("test", 5)):
        draw_classes(tmp_path / split, {"rose": num, "lily": num}, seed=num)
    draw_classes(tmp_path / "train", {"only": 3})
    found = find_cut(config(tmp_path))
    assert not found.resplit and not found.is_made
    assert found.left_out == {"only": "no image in the validation and the test split"}
    assert counts_of(tmp_path) == {"lily": (6, 4, 5), "rose": (6, 4, 5)}


def test_splits_that_hold_too_little_out_are_pooled(tmp_path: Path):
    for split, num in (("train", 10), ("val", 2), ("test", 2)):
        draw_classes(tmp_path / split, {"rose": num, "lily": num}, seed=num)
    found = find_cut(config(tmp_path))
    assert found.resplit and found.is_made
    # 14 of each: a quarter are 4 (3.5), a fifth 3, but 4 at least
    assert counts_of(tmp_path) == {"lily": (6, 4, 4), "rose": (6, 4, 4)}


def test_too_few_images_are_refused_in_one_line(tmp_path: Path):
    draw_classes(tmp_path, {"rose": 6, "lily": 7})
    with pytest.raises(ValueError, match=r"^data\.root: .* that takes 12 images of it"):
        find_cut(config(tmp_path))


def test_the_base_says_its_size(tmp_path: Path, tiny_base: Path):
    facts = gather(str(draw_classes(tmp_path, {"rose": 12, "lily": 12})), str(tiny_base))
    assert (facts.base_px, facts.kind) == (32, "image_folder")
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(tiny_base / "unet")
    assert facts.num_base_parameters == sum(parameter.numel() for parameter in unet.parameters())
