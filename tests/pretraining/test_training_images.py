"""Hashes of what a base has seen: the same whatever the order, one for each different image."""

import hashlib
import json

import numpy as np

from pretraining.training_images import training_images_json


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
