"""How well the check for copies sees: copies of images are planted in many ways and counted, and false ones as well.

Lengths are shares of the image's side; their names give them in pixels of an image of 64. This module knows how images
are changed and counted, not how copies are found or where images come from.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from flowerti.artifacts.scores import CopySensitivity
from flowerti.data.aligned_thumbnails import aligned_thumbnails
from flowerti.data.thumbnails import CORRELATION_LIMIT, correlations, thumbnails
from flowerti.metrics.wilson import wilson_interval
from flowerti.scoring.alignment import COPY_LIMIT, aligned_pairs, find_copies, originals_of

Pixels = UInt8[np.ndarray, "side side 3"]
Change = Callable[[Pixels], Pixels]


def _shifted(right: int, down: int) -> Change:
    """Shifted by that many 64ths of the side; the border that comes into sight repeats its last pixels."""

    def change(image: Pixels) -> Pixels:
        size = len(image)
        x, y = round(right * size / 64), round(down * size / 64)
        border = size // 4
        wide = np.pad(image, ((border, border), (border, border), (0, 0)), mode="edge")
        return wide[border - y : border - y + size, border - x : border - x + size]

    return change


def _cropped(share: float) -> Change:
    """Without that share of the side at each of its ends, and scaled back."""

    def change(image: Pixels) -> Pixels:
        size, cut = len(image), share * len(image)
        box = (cut, cut, size - cut, size - cut)
        return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=box))

    return change


def _rotated(degrees: float) -> Change:
    """With black corners."""
    return lambda image: np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC))


def _as_jpeg(quality: int) -> Change:
    def change(image: Pixels) -> Pixels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    return change


def _hue_shifted(turns: float) -> Change:
    """Every hue moved by that share of the colour circle, in HSV."""

    def change(image: Pixels) -> Pixels:
        hsv = np.array(Image.fromarray(image).convert("HSV"))
        hsv[..., 0] += np.uint8(round(turns * 256) % 256)
        return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))

    return change


def _grey(image: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


CHANGES: dict[str, Change] = {
    "shift 2 px": _shifted(2, -2),
    "shift 4 px": _shifted(-4, 4),
    "crop 3 %": _cropped(0.03),
    "crop 5 %": _cropped(0.05),
    "crop 8 %": _cropped(0.08),
    "crop 12 %": _cropped(0.12),
    "rotation 5 degrees": _rotated(5.0),
    "rotation 10 degrees": _rotated(-10.0),
    "mirror": lambda image: image[:, ::-1],
    "JPEG quality 10": _as_jpeg(10),
    "hue +0.1": _hue_shifted(0.1),
    "hue +0.3": _hue_shifted(0.3),
    "hue +0.5": _hue_shifted(0.5),
    "grey": _grey,
}
"""What a copy may have gone through: crops on each side, shifts along both axes, in pixels of an image of 64."""


def copy_sensitivity(
    images: UInt8[np.ndarray, "num side side 3"], changes: Mapping[str, Change] = CHANGES
) -> list[CopySensitivity]:
    """Count how many copies are found after each change. A pair is judged by its two images alone, so one is enough.

    Args:
        images: training images.
        changes: ways of changing an image, by their names.
    """
    flat, found = aligned_thumbnails(images), []
    for kind, change in changes.items():
        planted = np.stack([change(np.ascontiguousarray(image)) for image in images])
        values = aligned_pairs(aligned_thumbnails(planted), flat).correlation
        num_found = int((values > COPY_LIMIT).sum())
        low, high = wilson_interval(num_found, len(images))
        share = num_found / len(images)
        found.append(
            CopySensitivity(kind=kind, num_images=len(images), num_found=num_found, share=share, low=low, high=high)
        )
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class FalseCopies:
    """Pairs of different images that are called copies, and the number of pairs they are among."""

    pairs: list[tuple[int, int, float]]
    """Indices of both images, and the aligned correlation, the highest first."""
    num_pairs: int
    num_known: int
    """Near duplicates and byte-identical images, which are left out of both."""


def false_copies(images: UInt8[np.ndarray, "num side side 3"], known: Sequence[tuple[int, int]] = ()) -> FalseCopies:
    """Compare every image with every later one, all of them different, and count what is called a copy.

    Pairs whose `thumbnails.correlations` exceed their limit are near duplicates: they are left out.

    Args:
        images: real images.
        known: pairs of indices that show the same, besides the near duplicates.
    """
    found = find_copies(flat := aligned_thumbnails(images), originals_of(flat))
    leave_out = _near_duplicates(images)
    for i, j in known:
        leave_out[min(i, j), max(i, j)] = True
    pairs = sorted(
        (
            (int(i), int(j), float(value))
            for i, j, value in zip(found.image, found.original, found.correlation, strict=True)
            if i < j and not leave_out[i, j]
        ),
        key=lambda pair: -pair[2],
    )
    num_known = int(leave_out.sum())
    return FalseCopies(pairs=pairs, num_pairs=len(images) * (len(images) - 1) // 2 - num_known, num_known=num_known)


def _near_duplicates(images: UInt8[np.ndarray, "num side side 3"]) -> Bool[np.ndarray, "num num"]:
    """Pairs above the limit, once each: with the first index below the second."""
    flat = thumbnails(images)
    blocks = [flat[begin : begin + 256] for begin in range(0, len(flat), 256)]
    found = np.concatenate([correlations(block, flat).max(axis=2) > CORRELATION_LIMIT for block in blocks])
    return np.triu(found, k=1)
