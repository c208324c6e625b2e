"""What a base has seen, for its folder: the hash of every image that it was trained on.

A run compares them with the hashes of its own images, decoded at the same size. It knows nothing about networks.
"""

import hashlib
import json

import numpy as np
from jaxtyping import UInt8

TRAINING_IMAGES = "training_images.json"
"""Name of the file in a base's folder."""


def image_sha256(image: UInt8[np.ndarray, "height width 3"]) -> str:
    """Hash of a decoded image: its RGB bytes, row by row."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def training_images_json(images: UInt8[np.ndarray, "num height width 3"]) -> str:
    """The content of the file: sha256 of each different image, sorted, their size, and one hash over them."""
    digests = sorted({image_sha256(image) for image in images})
    fingerprint = hashlib.sha256("".join(digests).encode()).hexdigest()
    content = {"fingerprint": fingerprint, "image_size_px": int(images.shape[1]), "sha256": digests}
    return json.dumps(content, indent=0) + "\n"
