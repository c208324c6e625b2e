"""Worlds in which it is known how far two synthetic sets lie from the real images, in the kernel distance.

Features are Gaussian around a mean, 1280 wide, with the length and the decay that EfficientNet-Lite0's have on flowers.
A synthetic set is the real distribution moved along a direction of its own, and narrower or wider; the distances have a
closed form, so that two sets can differ from each other and lie equally far from the real ones. This module does not
know how sets are compared.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.optimize import root_scalar

WIDTH = 1280
_MEAN_SQUARE, _VARIANCE = 0.4, 0.25
"""Of one feature: 0.38 and 0.2 for azalea, 0.37 and 0.44 for sword lily."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """How far the two sets lie from the real images, and how wide they are."""

    near: float = 0.0
    """Kernel distance of the first set to the real images, at least what its spread alone gives."""
    far: float = 0.0
    near_spread: float = 1.0
    """Variances of the first set over those of the real images."""
    far_spread: float = 1.0


Sets = tuple[Float64[np.ndarray, "num 1280"], Float64[np.ndarray, "num 1280"], Float64[np.ndarray, "num 1280"]]


class Drawer:
    """Draws real, near and far images of a world."""

    def __init__(self, world: World) -> None:
        variances = 1.0 / np.arange(1, WIDTH + 1)
        variances[1:3] = variances[0]  # both sets move where the real images vary most, which is the hardest case
        self._variances = variances * (_VARIANCE * WIDTH / variances.sum())
        self._mean = np.zeros(WIDTH)
        self._mean[0] = np.sqrt(_MEAN_SQUARE * WIDTH)
        self._sets = [
            (self._moved(distance, spread, direction), spread)
            for direction, (distance, spread) in enumerate(
                ((world.near, world.near_spread), (world.far, world.far_spread)), start=1
            )
        ]

    def draw(self, num_images: int, rng: np.random.Generator) -> Sets:
        """Real, near and far features [num_images, 1280] each."""
        real, near, far = (
            mean + np.sqrt(spread * self._variances) * rng.standard_normal((num_images, WIDTH))
            for mean, spread in ((self._mean, 1.0), *self._sets)
        )
        return real, near, far

    def _moved(self, distance: float, spread: float, direction: int) -> Float64[np.ndarray, " 1280"]:
        """The mean at which a set has the distance."""

        def excess(shift: float) -> float:
            return self._distance(self._mean + shift * np.eye(1, WIDTH, direction)[0], spread) - distance

        if excess(0.0) > 1e-9:
            raise ValueError(f"distance: {distance}; a spread of {spread} alone gives {excess(0.0) + distance:.3f}")
        shift = root_scalar(excess, bracket=(0.0, 100.0)).root if excess(0.0) < -1e-9 else 0.0
        return self._mean + float(shift) * np.eye(1, WIDTH, direction)[0]

    def _distance(self, mean: Float64[np.ndarray, " 1280"], spread: float) -> float:
        own, real = (mean, spread * self._variances), (self._mean, self._variances)
        return mean_kernel(*own, *own) + mean_kernel(*real, *real) - 2 * mean_kernel(*own, *real)


def mean_kernel(
    mean_x: Float64[np.ndarray, " dim"],
    variance_x: Float64[np.ndarray, " dim"],
    mean_y: Float64[np.ndarray, " dim"],
    variance_y: Float64[np.ndarray, " dim"],
) -> float:
    """E (x.y / dim + 1)^3 of independent Gaussian x and y with diagonal covariances, in closed form."""
    d = len(mean_x)
    # given y, x.y is normal with mean m.y and variance y' V y; then both are averaged over y
    first = mean_x @ mean_y
    second = first**2 + mean_x**2 @ variance_y + variance_x @ (variance_y + mean_y**2)
    third = first**3 + 3 * first * (mean_x**2 @ variance_y)
    third += 3 * (first * (variance_x @ (variance_y + mean_y**2)) + 2 * (mean_x * variance_y * variance_x) @ mean_y)
    return float(1 + 3 * first / d + 3 * second / d**2 + third / d**3)
