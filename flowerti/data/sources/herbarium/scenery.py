"""What stands around a blossom in a drawn image: ground, sky, leaves, bokeh and blades of grass.

All colours are in [0, 1], on the canvas of one image, which is painted in place. This module knows nothing about
blossoms, species or cameras.
"""

import math

import numpy as np
from jaxtyping import Float32
from PIL import Image

from flowerti.data.sources.herbarium.drawing import Canvas, Colour, Grid, Plane, hsv_to_rgb

_GROUNDS = {  # hue, saturation and value of the two ends of a gradient
    "leaves": ((0.30, 0.55, 0.22), (0.25, 0.50, 0.48)),
    "meadow": ((0.22, 0.50, 0.60), (0.28, 0.55, 0.30)),
    "sky": ((0.58, 0.40, 0.88), (0.56, 0.15, 0.92)),
    "soil": ((0.07, 0.45, 0.30), (0.09, 0.35, 0.50)),
    "dusk": ((0.75, 0.25, 0.22), (0.05, 0.30, 0.40)),
}


def smooth_noise(
    rng: np.random.Generator, cells: int, size: int, channels: int = 1
) -> Float32[np.ndarray, "{size} {size} {channels}"]:
    """Noise, about standard normal, with features of size / cells."""
    coarse = rng.standard_normal((channels, cells, cells)).astype(np.float32)
    planes = [np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse]
    return np.stack(planes, axis=-1)


def ground(rng: np.random.Generator, grid: Grid) -> Canvas:
    """A background: a gradient of two tones under patches of noise."""
    near, far = _GROUNDS[str(rng.choice(tuple(_GROUNDS)))]
    tones = [
        hsv_to_rgb(h + rng.normal(0, 0.02), s * rng.uniform(0.7, 1.2), v * rng.uniform(0.7, 1.2))
        for h, s, v in (near, far)
    ]
    turn = rng.uniform(0.0, 2.0 * np.pi)
    ramp = np.clip(0.5 + 0.5 * (grid.x * math.cos(turn) + grid.y * math.sin(turn)), 0.0, 1.0)[..., None]
    image = tones[0] * (1.0 - ramp) + tones[1] * ramp
    size = len(grid.x)
    rough = smooth_noise(rng, int(rng.integers(3, 10)), size)
    tinted = smooth_noise(rng, 4, size, 3)
    return np.clip(image * (1.0 + rng.uniform(0.05, 0.25) * rough) + 0.025 * tinted, 0.0, 1.0)


def paint(canvas: Canvas, rgb: Canvas | Colour, alpha: Plane) -> None:
    """Lay a layer (or one colour) over the canvas, in place."""
    canvas += alpha[..., None] * (rgb - canvas)


def leaf(canvas: Canvas, rng: np.random.Generator, grid: Grid) -> None:
    """One leaf somewhere, in place: a lens with a lighter midrib."""
    turn, reach = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.3, 0.8)
    dx, dy = grid.x - rng.uniform(-1.0, 1.0), grid.y - rng.uniform(-1.0, 1.0)
    along = (dx * math.cos(turn) + dy * math.sin(turn)) / reach
    across = (dy * math.cos(turn) - dx * math.sin(turn)) / reach
    half = rng.uniform(0.2, 0.45) * (1.0 - along * along)
    alpha = np.clip((half - np.abs(across)) * reach / grid.cell * rng.uniform(0.1, 0.7) + 0.5, 0.0, 1.0)
    green = hsv_to_rgb(rng.uniform(0.2, 0.36), rng.uniform(0.35, 0.7), rng.uniform(0.2, 0.6))
    rib = 0.2 * np.exp(-np.square(across * 14.0)) - 0.1 * np.abs(across) / 0.4
    paint(canvas, np.clip(green * (1.0 + rib[..., None]), 0.0, 1.0), alpha * (np.abs(along) < 1.0))


def blade(canvas: Canvas, rng: np.random.Generator, grid: Grid) -> None:
    """One blade of grass from the lower edge upwards, in place."""
    foot, lean, bow = rng.uniform(-1.1, 1.1), rng.normal(0.0, 0.35), rng.normal(0.0, 0.25)
    top = rng.uniform(-0.7, 0.5)
    rise = np.clip((1.0 - grid.y) / (1.0 - top), 0.0, 1.0)
    middle = foot + lean * rise + bow * rise * rise
    half = rng.uniform(0.02, 0.06) * (1.0 - rise)
    alpha = np.clip((half - np.abs(grid.x - middle)) / grid.cell * 0.7 + 0.5, 0.0, 1.0) * (grid.y > top)
    green = hsv_to_rgb(rng.uniform(0.18, 0.36), rng.uniform(0.35, 0.75), rng.uniform(0.25, 0.75))
    paint(canvas, green, alpha)


def stem(canvas: Canvas, grid: Grid, start: tuple[float, float], bow: float, rgb: Colour) -> None:
    """A stem from `start` down to the lower edge, in place."""
    fall = np.clip((grid.y - start[1]) / max(1.0 - start[1], 1e-3), 0.0, 1.0)
    middle = start[0] + bow * fall * fall
    alpha = np.clip((0.035 - np.abs(grid.x - middle)) / grid.cell * 0.7 + 0.5, 0.0, 1.0) * (grid.y > start[1])
    paint(canvas, rgb, alpha)
