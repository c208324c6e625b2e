"""The embedded data set: images of flowers drawn by rule, one image for each (species, seed).

An image is a blossom with the traits of its species under free variation: place, size, turn, viewpoint, light, blur,
background and clutter. numpy and Pillow only. It knows nothing about splits, captions or models.
"""

import functools
import hashlib
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageFilter

from flowerti.data.sources.herbarium import scenery
from flowerti.data.sources.herbarium.drawing import Canvas, Grid, Look, bell, blossom, hsv_to_rgb, sample_look
from flowerti.data.sources.herbarium.species import Traits, random_traits, sample_traits, species_named

_OVERSAMPLING = 2


@functools.cache
def fingerprint() -> str:
    """Hash of the rules by which images are drawn: another one means other images for the same seeds."""
    digest = hashlib.sha256()
    for name in ("species.py", "scenery.py", "drawing.py", "herbarium.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()


def draw(species_name: str, seed: int, size_px: int = 64) -> UInt8[np.ndarray, "{size_px} {size_px} 3"]:
    """One image of a species, always the same for the same arguments.

    Args:
        species_name: one of the names in `species.SPECIES`.
        seed: any non-negative integer.
        size_px: width and height of the image.

    Raises:
        ValueError: if the herbarium has no such species, or the seed or size is out of range.
    """
    species = species_named(species_name)
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must not be negative")
    rng = np.random.default_rng([zlib.crc32(species_name.encode()), seed])
    return draw_traits(sample_traits(species, rng), rng, size_px)


def draw_traits(
    traits: Traits, rng: np.random.Generator, size_px: int = 64
) -> UInt8[np.ndarray, "{size_px} {size_px} 3"]:
    """One image of a blossom with the given traits.

    Raises:
        ValueError: the size is below 8 pixels.
    """
    if size_px < 8:
        raise ValueError(f"size_px is {size_px}; it must be at least 8")
    size = size_px * _OVERSAMPLING
    canvas = _soften(_backdrop(rng, size_px), rng.uniform(0.4, 2.0) * size_px / 64, size)
    grid = _grid(size)
    _plant(canvas, rng, grid, traits)
    for _ in range(int(rng.integers(0, 3))):
        scenery.blade(canvas, rng, grid)
    return _develop(canvas, rng, size_px)


def _grid(size: int) -> Grid:
    """Image coordinates of a square canvas."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * 2.0 / size - 1.0).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return Grid(x, y, 2.0 / size)


def _backdrop(rng: np.random.Generator, size: int) -> Float[np.ndarray, "{size} {size} 3"]:
    """Ground, leaves, blades and other blossoms that will be out of focus."""
    grid = _grid(size)
    canvas = scenery.ground(rng, grid)
    for _ in range(int(rng.integers(0, 4))):
        scenery.leaf(canvas, rng, grid)
    for _ in range(int(rng.integers(0, 4))):
        scenery.blade(canvas, rng, grid)
    for _ in range(int(rng.integers(0, 3))):
        other = replace(random_traits(rng), arrangement="single")
        look, place = sample_look(other, rng), rng.uniform(-1.0, 1.0, 2)
        view = _View(place, rng.uniform(0.15, 0.32), _camera(rng, 0.7))
        _bloom(canvas, grid, view, other, look)
    return canvas


def _soften(canvas: Canvas, radius: float, size: int) -> Float[np.ndarray, "{size} {size} 3"]:
    """The canvas blurred over `radius` of its pixels, then scaled."""
    image = Image.fromarray((canvas * 255.0 + 0.5).astype(np.uint8))
    blurred = image.filter(ImageFilter.BoxBlur(radius))
    if size != len(canvas):
        blurred = blurred.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(blurred, dtype=np.float32) / 255.0


@dataclass(frozen=True, slots=True)
class _View:
    """How a blossom stands in the image."""

    place: Float[np.ndarray, "2"]
    """Its middle, in image coordinates."""
    size: float
    """Its radius, in image coordinates."""
    camera: Float[np.ndarray, "2 2"]
    """Maps image offsets, as shares of the size, to flower coordinates."""


def _camera(rng: np.random.Generator, squash: float) -> Float[np.ndarray, "2 2"]:
    """Foreshortening along a random axis."""
    turn, narrow = rng.uniform(0.0, np.pi), rng.uniform(squash, 1.0)
    axis = np.array([np.cos(turn), np.sin(turn)])
    return np.eye(2) + (1.0 / narrow - 1.0) * np.outer(axis, axis)


def _plant(canvas: Canvas, rng: np.random.Generator, grid: Grid, traits: Traits) -> None:
    """The flower that the image is of, with its stem, in place."""
    place, size = rng.uniform(-0.2, 0.2, 2), rng.uniform(0.6, 0.98)
    look, camera = sample_look(traits, rng), _camera(rng, 0.6)
    green = hsv_to_rgb(rng.uniform(0.22, 0.34), rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.6))
    florets = _florets(traits.arrangement, rng)
    top = (float(place[0]), float(place[1] + size * min(0.0, min(f[1] for f in florets))))
    scenery.stem(canvas, grid, top, float(rng.normal(0.0, 0.25)), green)
    for dx, dy, scale in florets:
        spot = place + size * np.array([dx, dy])
        view = _View(spot, float(size * scale), camera if len(florets) == 1 else _camera(rng, 0.7))
        mine = replace(look, phase=look.phase if len(florets) == 1 else rng.uniform(0.0, 6.3))
        _bloom(canvas, grid, view, traits, mine)


def _florets(arrangement: str, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Offsets and sizes of the blossoms on one plant, in units of the plant's size; painted in order."""
    if arrangement == "umbel":
        num = int(rng.integers(9, 15))
        ray = 0.72 * np.sqrt((np.arange(num) + 0.4) / num)
        turn = np.arange(num) * 2.39996 + rng.uniform(0.0, 6.3)
        return [
            (float(r * np.cos(t)), float(0.85 * r * np.sin(t)), 0.33 * rng.uniform(0.85, 1.1))
            for r, t in reversed(list(zip(ray, turn, strict=True)))
        ]
    if arrangement == "spike":
        rows = np.linspace(-0.95, 0.95, int(rng.integers(6, 9)))
        lean = rng.normal(0.0, 0.15)
        return [
            (side * 0.20 * (0.35 + 0.33 * (h + 1.0)) + lean * h, float(h + 0.06 * side), 0.16 + 0.06 * (h + 1.0))
            for h in rows
            for side in ((-1.0, 1.0) if rng.random() < 0.5 else (1.0, -1.0))
        ]
    if arrangement == "bell":
        num = int(rng.integers(1, 4))
        spread = {1: ((0.0, 0.1),), 2: ((-0.42, 0.2), (0.42, -0.15)), 3: ((-0.55, 0.1), (0.55, 0.1), (0.0, -0.3))}
        return [(a, b, {1: 0.8, 2: 0.56, 3: 0.46}[num]) for a, b in spread[num]]
    return [(0.0, 0.0, 1.0)]


def _bloom(canvas: Canvas, grid: Grid, view: _View, traits: Traits, look: Look) -> None:
    """Paint one blossom into the window of the canvas that it covers, in place."""
    place, size, camera = view.place, view.size, view.camera
    lo = np.clip(((place - size * 1.06 + 1.0) / grid.cell).astype(int), 0, len(grid.x))
    hi = np.clip(((place + size * 1.06 + 1.0) / grid.cell).astype(int) + 1, 0, len(grid.x))
    window = (slice(int(lo[1]), int(hi[1])), slice(int(lo[0]), int(hi[0])))
    if min(hi - lo) <= 0:
        return
    dx, dy = (grid.x[window] - float(place[0])) / size, (grid.y[window] - float(place[1])) / size
    u = float(camera[0, 0]) * dx + float(camera[0, 1]) * dy
    v = float(camera[1, 0]) * dx + float(camera[1, 1]) * dy
    one = bell if traits.arrangement == "bell" else blossom
    scenery.paint(canvas[window], *one(Grid(u, v, grid.cell / size), traits, look))


def _develop(canvas: Canvas, rng: np.random.Generator, size_px: int) -> UInt8[np.ndarray, "{size_px} {size_px} 3"]:
    """Camera and light: exposure, colour cast, contrast, blur, downsampling and grain."""
    size = len(canvas)
    cast = rng.normal(0.0, 0.06, 3).astype(np.float32)
    exposed = canvas * (rng.uniform(0.68, 1.18) * (1.0 + cast))
    exposed = np.clip((exposed - 0.45) * rng.uniform(0.8, 1.15) + 0.45, 0.0, 1.0)
    sharp = exposed if rng.random() < 0.35 else _soften(exposed, rng.uniform(0.2, 1.4) * size / 128, size)
    k = _OVERSAMPLING
    small = sharp.reshape(size_px, k, size_px, k, 3).mean(axis=(1, 3))
    grain = rng.standard_normal(small.shape, dtype=np.float32) * rng.uniform(0.0, 0.025)
    return (np.clip(small + grain, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
