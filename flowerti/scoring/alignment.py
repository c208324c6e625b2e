"""Finds images that show the same after a shift, a crop, a rotation or a mirroring, in any hue or in grey.

The middle of the original (three quarters of its side) is looked for in the other image. A first search compares it,
at 8 x 8 points, with 216 windows of that image: scales, rotations and shifts on a coarse grid, plain and mirrored. That
is one matrix product for many images at once. Pairs that pass are aligned at 24 x 24 points by a pattern search with
halving steps (Hooke and Jeeves 1961, JACM 8) over scale, rotation and two shifts. A pair's value is the mean of two
correlations, that of the smoothed pixels and that of their edges, of luma or of the largest and smallest channels,
whichever is higher. A pair is judged by its two images alone. This module does not know where images come from or why
they are compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64

from flowerti.data.aligned_thumbnails import ALIGNED_PX, NUM_PLANES

COPY_LIMIT = 0.92
"""Aligned correlation above which one image is called a copy of the other.

Chosen on half of Oxford 102 at 64 px and on drawn images, measured on others (LOG.md, `benchmarks/evidence_copies.py`):
0.4 to 0.6 of 100,000 pairs of different images exceed it, and at least 97 % of copies of every kind that was planted.
"""
CANDIDATE_LIMIT = 0.82
"""Correlation on the coarse grid below which a pair is not aligned further."""

_WINDOW = 0.75
"""Side of the window of the original as a share of the image's: a crop of 12 % on each side still holds it, and so does
the image rotated by 10 degrees or shifted by a sixteenth."""
_SCALES, _DEGREES, _SHIFTS = (1.0, 1.09, 1.19, 1.29), (-7.0, 0.0, 7.0), (-0.05, 0.0, 0.05)
_COARSE, _FINE = 8, 24
"""Points along a side of the window."""
_STEPS = (0.05, 3.0, 0.025, 0.025)
"""First steps of the pattern search: half of the coarse grid's."""
_NUM_ROUNDS = 6
_FINE_SIGMA, _WIDE_SIGMA = 1.0, 2.5
"""Smoothing of the pixels, and of the neighbourhood that is taken off them for the edges, in thumbnail pixels."""
_FLAT = 2e-3
"""Root mean square of a window (values in [0, 1]) below which its variation is rounding error."""
_QUERY_BLOCK, _ORIGINAL_BLOCK, _PAIR_BLOCK = 32, 4096, 256

Planes = Float32[torch.Tensor, "_ _ _ _"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Originals:
    """Images that others may copy, ready for the first search."""

    flat: Float[np.ndarray, "num values"]
    """The output of `aligned_thumbnails`."""
    vectors: Float32[torch.Tensor, "2 num width"]
    """The middle of each image, by luma and by the largest channel: unit vectors, 0 for an image of one colour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """Pairs of an image and an original, one a row."""

    image: Int64[np.ndarray, " num"]
    original: Int64[np.ndarray, " num"]
    correlation: Float32[np.ndarray, " num"]
    """In [-1, 1]: aligned where the pair passed the first search, else its highest value there."""
    is_mirrored: Bool[np.ndarray, " num"]


def originals_of(flat: Float[np.ndarray, "num values"]) -> Originals:
    """Prepare the images that others may copy, from their `aligned_thumbnails`."""
    blocks = [_coarse_vectors(_middles(_bands(flat[begin:end]), _COARSE)) for begin, end in _ranges(len(flat), 512)]
    empty = torch.zeros(2, 0, 2 * _COARSE**2)
    return Originals(flat=flat, vectors=torch.cat([empty, *blocks], dim=1))


def find_copies(images: Float[np.ndarray, "num values"], originals: Originals) -> Matches:
    """All pairs whose aligned correlation exceeds `COPY_LIMIT`; time grows with the product of both numbers."""
    found = [_compare(images[block], block, originals) for block in _blocks(len(images), _QUERY_BLOCK)]
    joined = _joined(found)
    return _rows(joined, joined.correlation > COPY_LIMIT)


def aligned_pairs(images: Float[np.ndarray, "num values"], originals: Float[np.ndarray, "num values"]) -> Matches:
    """The value of each image with the original in the same row, by the same two steps as in `find_copies`."""
    found = []
    for block in _blocks(len(images), _QUERY_BLOCK):
        bands = _bands(images[block])
        vectors = originals_of(originals[block]).vectors
        # [2, motions, pairs, width] x [2, 1, pairs, width] -> [motions, pairs]
        values = (_views(bands) * vectors[:, None]).sum(dim=3).amax(dim=0)
        best, motion = values.max(dim=0)
        found.append(_aligned(bands, _bands(originals[block]), best, motion, (block, block)))
    return _joined(found)


def _compare(
    images: Float[np.ndarray, "num values"], places: Int64[np.ndarray, " num"], originals: Originals
) -> Matches:
    """The pairs of a block of images that pass the first search."""
    bands = _bands(images)
    views = _views(bands)
    found = []
    for begin, end in _ranges(originals.vectors.shape[1], _ORIGINAL_BLOCK):
        vectors = originals.vectors[:, begin:end]
        image, original = (_highest(views, vectors) > CANDIDATE_LIMIT).nonzero(as_tuple=True)
        for some in torch.arange(len(image)).split(_PAIR_BLOCK):
            i, j = image[some], original[some]
            best, motion = (views[:, :, i] * vectors[:, None, j]).sum(dim=3).amax(dim=0).max(dim=0)
            targets = _bands(originals.flat[begin + j.numpy()])
            found.append(_aligned(bands[i], targets, best, motion, (places[i.numpy()], begin + j.numpy())))
    return _joined(found)


def _highest(
    views: Float32[torch.Tensor, "2 motions num width"], vectors: Float32[torch.Tensor, "2 others width"]
) -> Float32[torch.Tensor, "num others"]:
    """The highest inner product of each pair over windows and planes, without all of them in memory at once."""
    best = torch.full((views.shape[2], vectors.shape[1]), -1.0)
    product_of = torch.empty_like(best)
    for by_motion, of_originals in zip(views, vectors, strict=True):
        for view in by_motion:
            torch.mm(view, of_originals.T, out=product_of)
            torch.maximum(best, product_of, out=best)
    return best


def _aligned(
    bands: Planes,
    of_originals: Planes,
    coarse: Float32[torch.Tensor, " num"],
    motion: torch.Tensor,
    places: tuple[Int64[np.ndarray, " num"], Int64[np.ndarray, " num"]],
) -> Matches:
    """Align pairs from their best motion on the coarse grid, where they passed it."""
    motions, is_mirrored = _MOTIONS[motion].clone(), motion >= len(_MOTIONS) // 2
    passed = coarse > CANDIDATE_LIMIT
    correlation = coarse.clone()
    if passed.any():
        correlation[passed] = _refined(bands[passed], of_originals[passed], motions[passed])
    return Matches(
        image=places[0],
        original=places[1],
        correlation=correlation.clamp(-1, 1).numpy(),
        is_mirrored=is_mirrored.numpy(),
    )


def _refined(
    bands: Planes, of_originals: Planes, motions: Float32[torch.Tensor, "num 5"]
) -> Float32[torch.Tensor, " num"]:
    """The highest correlation that the pattern search finds for each pair."""
    wanted = _fine_vectors(_middles(of_originals, _FINE))
    best = _agreement(bands, motions, wanted)
    steps = torch.tensor(_STEPS).repeat(len(motions), 1)
    for _ in range(_NUM_ROUNDS):
        moved = torch.zeros(len(motions), dtype=torch.bool)
        for axis, sign in product(range(len(_STEPS)), (-1, 1)):
            tried = motions.clone()
            tried[:, axis] += sign * steps[:, axis]
            values = _agreement(bands, tried, wanted)
            better = values > best
            motions, best = torch.where(better[:, None], tried, motions), torch.where(better, values, best)
            moved |= better
        steps = torch.where(moved[:, None], steps, steps / 2)
    return best


def _agreement(
    bands: Planes, motions: Float32[torch.Tensor, "num 5"], wanted: Float32[torch.Tensor, "2 num width"]
) -> Float32[torch.Tensor, " num"]:
    """Correlation of each image's window under its motion with the original's, the higher of the two sets of planes."""
    windows = torch.nn.functional.grid_sample(
        bands, _points(motions, _FINE), padding_mode="border", align_corners=False
    )
    return (_fine_vectors(windows) * wanted).sum(dim=2).amax(dim=0)


def _all_motions() -> Float32[torch.Tensor, "motions 5"]:
    """Scale, degrees, shifts right and down in shares of the side, and 1, or -1 where mirrored: plain ones first."""
    return torch.tensor(
        [(s, degrees, x, y, m) for m, s, degrees, x, y in product((1.0, -1.0), _SCALES, _DEGREES, _SHIFTS, _SHIFTS)]
    )


_MOTIONS = _all_motions()


def _points(motions: Float32[torch.Tensor, "num 5"], side: int) -> Float32[torch.Tensor, "num side side 2"]:
    """Where the points of the original's window lie in the other image, in [-1, 1] from border to border."""
    along = ((torch.arange(side) + 0.5) / side * 2 - 1) * _WINDOW
    down, right = torch.meshgrid(along, along, indexing="ij")
    scale, degrees, x, y, mirror = (motions[:, i, None, None] for i in range(5))
    cos, sin = torch.cos(torch.deg2rad(degrees)) * scale, torch.sin(torch.deg2rad(degrees)) * scale
    return torch.stack([mirror * (cos * right - sin * down + 2 * x), sin * right + cos * down + 2 * y], dim=3)


def _views(bands: Planes) -> Float32[torch.Tensor, "2 motions num width"]:
    """The windows of each image under all motions of the coarse grid, as vectors."""
    num, channels = bands.shape[:2]
    points = _points(_MOTIONS, _COARSE).reshape(1, -1, _COARSE, 2)
    # every image has the same points, so images are channels: [1, num * channels, motions * side, side]
    flat = torch.nn.functional.grid_sample(
        bands.reshape(1, -1, *bands.shape[2:]), points, padding_mode="border", align_corners=False
    )
    windows = flat.reshape(num, channels, len(_MOTIONS), _COARSE, _COARSE).transpose(1, 2)
    vectors = _coarse_vectors(windows.reshape(-1, channels, _COARSE, _COARSE))
    return vectors.reshape(2, num, len(_MOTIONS), -1).transpose(1, 2).contiguous()


def _middles(bands: Planes, side: int) -> Planes:
    still = torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0]])
    points = _points(still, side).expand(len(bands), -1, -1, -1)
    return torch.nn.functional.grid_sample(bands, points, padding_mode="border", align_corners=False)


def _bands(flat: Float[np.ndarray, "num values"]) -> Planes:
    """Smoothed planes and, after them, their edges: [num, 6, 32, 32]."""
    from scipy.ndimage import gaussian_filter

    planes = flat.astype(np.float32).reshape(len(flat), NUM_PLANES, ALIGNED_PX, ALIGNED_PX)
    smooth = gaussian_filter(planes, (0, 0, _FINE_SIGMA, _FINE_SIGMA), mode="nearest")
    wide = gaussian_filter(smooth, (0, 0, _WIDE_SIGMA, _WIDE_SIGMA), mode="nearest")
    return torch.from_numpy(np.concatenate([smooth, smooth - wide], axis=1))


def _coarse_vectors(windows: Planes) -> Float32[torch.Tensor, "2 num width"]:
    """By luma, and by the largest channel."""
    return torch.stack([_vectors(windows, [0], [3]), _vectors(windows, [1], [4])])


def _fine_vectors(windows: Planes) -> Float32[torch.Tensor, "2 num width"]:
    """By luma, and by the largest and the smallest channel; the shorter of the two is filled up with zeros."""
    luma, extremes = _vectors(windows, [0], [3]), _vectors(windows, [1, 2], [4, 5])
    return torch.stack([torch.nn.functional.pad(luma, (0, extremes.shape[1] - luma.shape[1])), extremes])


def _vectors(windows: Planes, pixels: list[int], edges: list[int]) -> Float32[torch.Tensor, "num width"]:
    """Vectors whose inner product is the mean of the pixels' and the edges' correlation."""
    return torch.cat([_unit(windows[:, pixels]), _unit(windows[:, edges])], dim=1) / 2**0.5


def _unit(windows: Planes) -> Float32[torch.Tensor, "num width"]:
    centred = (windows - windows.mean(dim=(2, 3), keepdim=True)).flatten(1)
    size = centred.square().mean(dim=1, keepdim=True).sqrt()
    return torch.where(size < _FLAT, 0, centred / (size * centred.shape[1] ** 0.5).clamp_min(_FLAT))


def _ranges(num: int, size: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, num, size):
        yield begin, min(begin + size, num)


def _blocks(num: int, size: int) -> Iterator[Int64[np.ndarray, " _"]]:
    for begin, end in _ranges(num, size):
        yield np.arange(begin, end)


def _joined(parts: list[Matches]) -> Matches:
    none = Matches(
        image=np.zeros(0, np.int64),
        original=np.zeros(0, np.int64),
        correlation=np.zeros(0, np.float32),
        is_mirrored=np.zeros(0, bool),
    )
    fields = ("image", "original", "correlation", "is_mirrored")
    return Matches(**{name: np.concatenate([getattr(part, name) for part in [none, *parts]]) for name in fields})


def _rows(matches: Matches, keep: Bool[np.ndarray, " num"]) -> Matches:
    return Matches(
        image=matches.image[keep],
        original=matches.original[keep],
        correlation=matches.correlation[keep],
        is_mirrored=matches.is_mirrored[keep],
    )
