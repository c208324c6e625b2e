"""What scoring says of every single synthetic image, for whoever wants to look at the images one by one.

This module does not know how anything is computed.
"""

from dataclasses import dataclass

from flowerti.artifacts import layout
from flowerti.artifacts.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageScore:
    """One synthetic image beside a classifier of real images and beside the training images of its class."""

    image: str
    """Its address: file and row."""
    probability: float
    """Of its intended class, in [0, 1], by a head trained on real training images alone."""
    similarity: float
    """Highest cosine of its features with a training image of its class, plain or mirrored."""
    train_id: str
    """That training image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageScores:
    """Of all scored sets, set by set, in the order of the images."""

    extractor: str
    """The network that the features came from."""
    images: list[ImageScore]


def scores_by_image(run: RunDirectory) -> dict[str, ImageScore]:
    """What a run says of its images, by their addresses; empty before they were scored, or of a damaged file."""
    found = run.load(layout.IMAGE_SCORES, ImageScores)
    return {one.image: one for one in found.images} if found else {}
