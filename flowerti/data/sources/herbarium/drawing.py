"""Draws one blossom by rule: petal rings, centres and colour patterns on a coordinate grid, in numpy.

Everything is a function of flower coordinates (x, y), where the blossom fills the unit circle; a layer is a pair of
rgb and opacity, both in [0, 1]. It knows nothing about species, cameras or scenery.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from flowerti.data.sources.herbarium.species import COLOURS, Traits

Plane = Float[np.ndarray, "height width"]
Canvas = Float[np.ndarray, "height width 3"]
Colour = Float[np.ndarray, "3"]
Layer = tuple[Canvas, Plane]
"""rgb, not premultiplied, and opacity."""

_KNOTS = np.linspace(0.0, 1.0, 11, dtype=np.float32)
# Half width of a petal along its axis, in tenths of its length, as a share of its greatest half width.
_PROFILES: dict[str, tuple[float, ...]] = {
    "round": (0.18, 0.36, 0.56, 0.74, 0.88, 0.97, 1.0, 0.98, 0.88, 0.64, 0.0),
    "pointed": (0.25, 0.50, 0.72, 0.88, 0.97, 1.0, 0.92, 0.74, 0.50, 0.25, 0.0),
    "strap": (0.55, 0.72, 0.82, 0.90, 0.95, 0.98, 1.0, 1.0, 0.96, 0.78, 0.0),
    "heart": (0.12, 0.26, 0.42, 0.60, 0.78, 0.92, 1.0, 1.0, 0.92, 0.72, 0.0),
    "fringed": (0.10, 0.20, 0.32, 0.46, 0.60, 0.74, 0.86, 0.95, 1.0, 0.98, 0.85),
    "spoon": (0.24, 0.24, 0.25, 0.27, 0.34, 0.52, 0.82, 1.0, 0.98, 0.74, 0.0),
}
_WIDTH = {"round": 1.06, "pointed": 0.86, "strap": 0.82, "heart": 1.02, "fringed": 1.0, "spoon": 1.0}


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the cells of a canvas lie."""

    x: Plane
    """In [-1, 1] from left to right on the canvas of an image; in flower coordinates for a blossom."""
    y: Plane
    """The same from top to bottom."""
    cell: float
    """Width of a cell; edges fade over this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """The free variation of one blossom that its traits leave open."""

    petal_rgb: Colour
    mark_rgb: Colour
    centre_rgb: Colour
    width: float
    light_angle: float
    light_strength: float
    phase: float
    lengths: Float[np.ndarray, "32"]
    bends: Float[np.ndarray, "32"]
    pattern_scale: float
    gradient: float


def hsv_to_rgb(hue: float, saturation: float, value: float) -> Colour:
    """Float32 [3] rgb in [0, 1] of one colour; the hue wraps round, the others are clipped."""
    s, v = np.clip((saturation, value), 0.0, 1.0)
    k = (np.array([5.0, 3.0, 1.0]) + (hue % 1.0) * 6.0) % 6.0
    return (v - v * s * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0)).astype(np.float32)


def colour_rgb(name: str, rng: np.random.Generator) -> Colour:
    """A named colour with its spread of hue, saturation and value."""
    hue, saturation, value = COLOURS[name]
    return hsv_to_rgb(
        hue + rng.normal(0.0, 0.022),
        saturation * rng.uniform(0.7, 1.15),
        value * rng.uniform(0.75, 1.08),
    )


def sample_look(traits: Traits, rng: np.random.Generator) -> Look:
    """The free variation of one blossom with these traits."""
    return Look(
        petal_rgb=colour_rgb(traits.petal_colour, rng),
        mark_rgb=colour_rgb(traits.mark_colour, rng),
        centre_rgb=colour_rgb(traits.centre_colour, rng),
        width=float(rng.uniform(0.82, 1.15)),
        light_angle=float(rng.uniform(0.0, 2.0 * np.pi)),
        light_strength=float(rng.uniform(0.05, 0.28)),
        phase=float(rng.uniform(0.0, 2.0 * np.pi)),
        lengths=rng.uniform(0.84, 1.0, 32).astype(np.float32),
        bends=rng.normal(0.0, 0.09, 32).astype(np.float32),
        pattern_scale=float(rng.uniform(0.8, 1.25)),
        gradient=float(rng.uniform(-0.25, 0.3)),
    )


def over(layer: Layer, top: Layer) -> Layer:
    """Lay one layer over another."""
    (rgb, alpha), (top_rgb, top_alpha) = layer, top
    keep = alpha * (1.0 - top_alpha)
    total = np.maximum(keep + top_alpha, 1e-6)
    mixed = (rgb * keep[..., None] + top_rgb * top_alpha[..., None]) / total[..., None]
    return mixed, keep + top_alpha


def blossom(grid: Grid, traits: Traits, look: Look) -> Layer:
    """One open blossom (single, double or full) seen from above.

    Args:
        grid: in flower coordinates: the blossom fills the unit circle.
        traits: form and colours; arrangements of many florets count as single here.
        look: free variation.
    """
    radius, angle = np.hypot(grid.x, grid.y), np.arctan2(grid.y, grid.x)
    layer = None
    for i, scale in enumerate(_ring_scales(traits.arrangement)):
        rgb, alpha = petal_ring(radius / scale, angle, grid.cell / scale, i, traits, look)
        ring = (np.clip(rgb * (1.0 + 0.07 * i), 0.0, 1.0), alpha)
        layer = ring if layer is None else over(layer, ring)
    assert layer is not None
    return over(layer, _centre(radius, angle, grid.cell, traits, look))


def _ring_scales(arrangement: str) -> tuple[float, ...]:
    if arrangement == "full":
        return (1.0, 0.76, 0.54, 0.33)
    return (1.0, 0.66) if arrangement == "double" else (1.0,)


def petal_ring(radius: Plane, angle: Plane, cell: float, ring: int, traits: Traits, look: Look) -> Layer:
    """One ring of petals in polar coordinates; `ring` 0 is the outermost, odd rings stand in the gaps of even ones."""
    num = traits.num_petals
    step = 2.0 * np.pi / num
    turned = (angle + look.phase) / step + 0.5 * (ring % 2)
    index = np.rint(turned).astype(np.int32) % num
    local = (turned - np.rint(turned)) * step + look.bends[index + ring] * step * 0.5
    length = look.lengths[(index + 5 * ring) % 32]
    along = radius * np.cos(local) / length
    across = radius * np.sin(local) / length
    widest = min(0.62 * math.tan(math.pi / max(num, 4)), 0.5) * _WIDTH[traits.petal_shape] * look.width
    reach = along / _tip(across / widest, traits.petal_shape)
    half = widest * np.interp(reach, _KNOTS, _PROFILES[traits.petal_shape]).astype(np.float32)
    inside = np.minimum((half - np.abs(across)) / cell, (1.0 - reach) / cell) * 0.7 + 0.5
    alpha = np.clip(inside, 0.0, 1.0) * (along > 0.0)
    side = np.clip(across / np.maximum(half, 1e-3), -1.0, 1.0)
    facing = np.cos(index * step - look.phase - look.light_angle).astype(np.float32)
    shade = (0.86 + look.light_strength * facing) * (1.0 - 0.24 * side * side)
    shade = shade * np.clip(0.8 + 0.45 * along, 0.7, 1.05)
    rgb = _petal_colour(along, across / widest, traits, look)
    return np.clip(rgb * shade[..., None], 0.0, 1.0), alpha.astype(np.float32)


def _tip(across: Plane, shape: str) -> Plane | float:
    """How far a petal reaches at this place across it: hearts are notched, fringes toothed."""
    if shape == "heart":
        return 1.0 - 0.30 * np.exp(-np.square(across / 0.34))
    if shape == "fringed":
        return 1.0 - 0.26 * np.abs((across * 2.0 + 0.5) % 1.0 - 0.5) * 2.0
    return 1.0


def _petal_colour(along: Plane, across: Plane, traits: Traits, look: Look) -> Canvas:
    """Petal rgb before light: a gradient from base to tip under the pattern of the marks."""
    tone = 1.0 + look.gradient * (along - 0.5)
    mark = _mark(along, across, traits.pattern, look.pattern_scale)[..., None]
    petal = look.petal_rgb * tone[..., None]
    return petal * (1.0 - mark) + look.mark_rgb * mark


def _mark(along: Plane, across: Plane, pattern: str, scale: float) -> Plane:
    """Share of the mark colour at each place of a petal, in [0, 1]."""
    if pattern == "edged":
        rim = np.maximum((along - 0.80) * 10.0, (np.abs(across) - 0.66) * 9.0)
        return np.clip(rim * scale + 0.3, 0.0, 1.0)
    if pattern == "striped":
        return np.clip((0.24 * scale - np.abs(across)) * 9.0 + 0.5, 0.0, 1.0)
    if pattern == "spotted":
        cells = np.sin(along * 17.0 * scale) * np.cos(across * 6.5)
        return np.clip((np.abs(cells) - 0.62) * 6.0, 0.0, 1.0) * (along < 0.85)
    if pattern == "eyed":
        return np.clip((0.46 * scale - along) * 9.0 + 0.5, 0.0, 1.0)
    return np.zeros_like(along)


def _centre(radius: Plane, angle: Plane, cell: float, traits: Traits, look: Look) -> Layer:
    """The middle of the blossom: a dome, a ring of stamens, rays, or a small throat."""
    size = traits.centre_size
    if traits.centre == "stamens":
        reach, light = _stamens(radius, angle, size, look), 1.0 - 0.3 * (radius < 0.4 * size)
    elif traits.centre == "star":
        wave = 0.5 + 0.5 * np.cos((angle + look.phase) * 6.0)
        reach, light = size * (0.25 + 0.9 * wave**3) - radius, 1.05 - 0.3 * radius / size
    elif traits.centre == "none":
        reach, light = np.minimum(size, 0.12) - radius, 0.75 + 0.0 * radius
    else:
        grain = np.cos(radius / size * 14.0) * np.cos(angle * 11.0)
        reach, light = size - radius, 1.08 - 0.4 * np.square(radius / size) + 0.1 * grain
    alpha = np.clip(reach / cell * 0.7 + 0.5, 0.0, 1.0)
    return np.clip(look.centre_rgb * np.clip(light, 0.3, 1.2)[..., None], 0.0, 1.0), alpha


def _stamens(radius: Plane, angle: Plane, size: float, look: Look) -> Plane:
    """Depth inside the nearest of nine anthers or inside the pistil, positive within."""
    step = 2.0 * np.pi / 9.0
    turned = (angle - look.phase) / step
    local = (turned - np.rint(turned)) * step
    anther = 0.26 * size - np.hypot(radius * np.cos(local) - size, radius * np.sin(local))
    return np.maximum(anther, 0.42 * size - radius)


def bell(grid: Grid, traits: Traits, look: Look) -> Layer:
    """A hanging bell seen from the side, in flower coordinates: stalk end at y = -1, lobed mouth at y = +1."""
    down = (grid.y + 1.0) / 2.0
    half = 0.74 * look.width * (0.32 + 0.68 * np.square(np.clip(down, 0.0, 1.0)))
    half = half * np.clip(np.sqrt(np.clip(down * 6.0, 0.0, 1.0)), 0.0, 1.0)
    side = grid.x / np.maximum(half, 1e-3)
    lobes = np.abs(np.sin(np.clip(side, -1.0, 1.0) * traits.num_petals * 0.5 * np.pi / 2.0 + np.pi / 2))
    rim = 0.74 + 0.24 * (lobes if traits.petal_shape != "pointed" else lobes * lobes)
    inside = np.minimum((half - np.abs(grid.x)) / grid.cell, (rim - down) * 2.0 / grid.cell) * 0.7 + 0.5
    alpha = np.clip(inside, 0.0, 1.0) * (down > 0.0)
    rgb = _petal_colour(down, side * 0.9, traits, look)
    shade = (0.95 + look.light_strength * math.cos(look.light_angle) * side) * (1.0 - 0.3 * side * side)
    return np.clip(rgb * np.clip(shade, 0.3, 1.3)[..., None], 0.0, 1.0), alpha.astype(np.float32)
