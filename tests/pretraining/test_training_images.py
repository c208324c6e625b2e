"""Hashes of what a base has seen: the same whatever the order, one for each different image."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowerti.artifacts.training_images import read_training_images
from flowerti.config.data import DataConfig
from pretraining.allowed_images import AllowedImages
from pretraining.training_images import Options, training_images_json, write_list

ROOT = Path(__file__).parents[2]


def test_the_file_holds_the_hash_of_each_different_image():
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    images[3] = images[0]
    content = json.loads(training_images_json(images))
    assert content["sha256"] == sorted(
        hashlib.sha256(bytes(image.flatten().tolist())).hexdigest() for image in images[:3]
    )
    assert content["image_size_px"] == 8
    assert json.loads(training_images_json(images[::-1])) == content
    assert json.loads(training_images_json(images[1:3]))["fingerprint"] != content["fingerprint"]


def test_the_command_lists_what_a_base_made_elsewhere_has_seen(image_folder, tmp_path):
    output = tmp_path / "list.json"
    options = ["--output", str(output), "--data.kind", "image_folder", "--data.root", str(image_folder)]
    options += ["--held-out-classes", "azalea", "red rose", "--splits", "train", "test", "--image-size-px", "32"]
    command = [sys.executable, "-m", "pretraining.training_images", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("7 different images")
    expected = set()
    for file in [*image_folder.glob("train/rose/*"), *image_folder.glob("test/rose/*")]:
        with Image.open(file) as image:
            pixels = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC))
        expected.add(hashlib.sha256(pixels.tobytes()).hexdigest())
    found = read_training_images(output)
    assert (found.sha256, found.image_size_px) == (expected, 32)


def test_what_cannot_be_listed_is_refused(allowed, tmp_path):
    with pytest.raises(ValueError, match=r"data\.kind: a herbarium base"):
        write_list(Options(output=tmp_path / "list.json", images=AllowedImages()))
    unknown = AllowedImages(data=allowed.data, held_out_classes=("lily",))
    with pytest.raises(ValueError, match="unknown class 'lily'"):
        write_list(Options(output=tmp_path / "list.json", images=unknown))
    assert not list(tmp_path.iterdir())


def test_the_flowers_base_has_seen_nothing_of_the_weak_classes(shared_root, tmp_path):
    """The card of the base names these classes and three more, all other images of all splits were seen."""
    weak = ("azalea", "sword lily", "canna lily")
    data = DataConfig(kind="flowers102", root=str(shared_root / "data" / "flowers102-64"))
    options = Options(
        output=tmp_path / "list.json",
        images=AllowedImages(data=data, held_out_classes=weak),
        splits=("train", "validation", "test"),
    )
    # 8189 images, of which five pairs are byte for byte the same; 308 of the weak classes
    assert write_list(options) == 8189 - 5 - 96 - 130 - 82
