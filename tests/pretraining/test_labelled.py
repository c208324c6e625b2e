"""Examples of a folder of images: each allowed one once, at the base's size, captioned by its class, wherever read."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_pretraining import CONFIG

from flowerti.config.data import DataConfig
from pretraining import labelled
from pretraining.allowed_images import AllowedImages
from pretraining.blocks import example_blocks
from pretraining.examples import Examples

NAMES = {"rose": {"rose", "rosa"}, "red rose": {"red rose"}}
"""The Latin name is one that the project knows."""


def all_of(config, allowed: AllowedImages) -> Examples:
    found = [block() for block in example_blocks(config, allowed)]
    captions = [captions for block in found for captions in block.captions]
    return Examples(images=np.concatenate([block.images for block in found]), captions=captions)


def as_read(path: Path) -> bytes:
    with Image.open(path) as image:
        return np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)).tobytes()


def test_each_allowed_image_comes_once_with_captions_of_its_class(allowed, image_folder):
    examples = all_of(CONFIG, allowed)
    name_of = {as_read(path): path.parent.name for path in image_folder.glob("train/*/*.png")}
    found = [name_of[image.tobytes()] for image in examples.images]
    assert len({image.tobytes() for image in examples.images}) == len(found) == 10
    assert "azalea" not in found
    for name, captions in zip(found, examples.captions, strict=True):
        assert len(captions) == CONFIG.captions_per_image
        said = [
            re.fullmatch(r'(?:Photo of a "|.* (?:a|one|cool) )((?:red )?ros[ea])"?', caption) for caption in captions
        ]
        assert {match[1] for match in said if match} <= NAMES[name]
        assert all(said)
    assert found != sorted(found), "classes are shuffled"


def test_examples_do_not_depend_on_blocks(allowed, monkeypatch):
    whole = all_of(CONFIG, allowed)
    monkeypatch.setattr(labelled, "BLOCK", 3)
    parts = example_blocks(CONFIG, allowed)
    assert len(parts) == 4
    assert np.array_equal(all_of(CONFIG, allowed).images, whole.images)
    assert all_of(CONFIG, allowed).captions == whole.captions
    assert all_of(replace(CONFIG, seed=1), allowed).captions != whole.captions


def test_an_unreadable_image_stops_or_is_left_out(allowed, tmp_path):
    for split in ("train", "validation", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (40, 40), (name == "a" and "red") or "blue").save(tmp_path / split / name / "0.png")
    (tmp_path / "train" / "a" / "1.png").write_bytes(b"no image")
    data = DataConfig(kind="image_folder", root=str(tmp_path), image_size_px=32)
    with pytest.raises(ValueError, match=r"1\.png"):
        all_of(CONFIG, AllowedImages(data=data))
    examples = all_of(CONFIG, AllowedImages(data=replace(data, skip_unreadable=True)))
    assert len(examples.images) == len(examples.captions) == 2
