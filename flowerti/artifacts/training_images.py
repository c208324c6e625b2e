"""The list of what a base was trained on, as a file in the base's folder: hashes of decoded images.

`data.images.pixel_sha256` says what is hashed. This module does not decode images and does not know where a base is.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAINING_IMAGES = "training_images.json"
"""Name of the file in a base's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingImages:
    """What a base was trained on."""

    fingerprint: str
    """One hash over the list."""
    image_size_px: int
    """Side of the square whose pixels were hashed: the size at which the base was trained."""
    sha256: frozenset[str]
    """Of each different image."""
    drawn: str = ""
    """In place of a list: a sentence that says why no image of any data set can be among them. Empty where there is a
    list."""


def training_images_json(digests: Iterable[str], image_size_px: int, drawn: str = "") -> str:
    """The content of the file: the digests, each once and sorted, with one hash over them."""
    listed = sorted(set(digests))
    content: dict[str, Any] = {"fingerprint": _fingerprint(listed, drawn), "image_size_px": image_size_px}
    if drawn:
        content["drawn"] = drawn
    return json.dumps({**content, "sha256": listed}, indent=0) + "\n"


def _fingerprint(listed: Iterable[str], drawn: str) -> str:
    return hashlib.sha256(("".join(listed) + drawn).encode()).hexdigest()


def read_training_images(path: Path) -> TrainingImages:
    """Read what `training_images_json` wrote.

    Raises:
        ValueError: the file is missing, damaged or empty, or its list is not the one of its fingerprint; names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        listed, size, drawn = content["sha256"], content["image_size_px"], content.get("drawn", "")
        fingerprint = _fingerprint(sorted(listed), drawn)
        if not isinstance(size, int) or size < 1 or not (listed or drawn):
            raise ValueError("it lists no image, or not their size")
        if content["fingerprint"] != fingerprint:
            raise ValueError("its fingerprint is that of another list")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"base.training_images: {path} cannot be used ({error}): make it again with "
            "`python -m pretraining.training_images`, or leave it out"
        ) from error
    return TrainingImages(fingerprint=fingerprint, image_size_px=size, sha256=frozenset(listed), drawn=drawn)
