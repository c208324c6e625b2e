"""Intervals and p-values of mean F1 over crossed units and images, right for few units, few images and F1 near 0 or 1.

A unit is one repetition of an arm, or the mean of several that share what was learnt or drawn.

Three things make the plain bootstrap wrong here. Resampling units and images at once counts what is peculiar to one
unit and image three times, and few units show too little of their variance: `crossed_error` corrects both. Where all
images of a class agree, resampling them shows no variance at all, although the next image could differ: the images'
variance counts as at least that of three quarters of an image. And a few images cannot carry a small p-value, however
large the effect: `estimate` knows how many images decide. This module does not know about arms, ratios, predictions or
files.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy import optimize, special

LEVEL = 0.95
TIE = 1e-12
"""Differences up to this size are rounding errors of sums in another order, and count as ties."""
LEAST_IMAGES = 0.75
"""Images of each class that count as differing at least, in the images' variance.

Chosen by simulation (LOG.md, 2026-11-28): with 0.6, intervals at 10 images a class near F1 1 hold the truth in 91 %;
with 1, those of many other worlds do in 98 % and more.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagesBehind:
    """How many images a group's mean F1 rests on."""

    per_class: float
    """Mean images of a class, for the small-sample correction: at least 2."""
    freedom: float
    """Images minus classes: at least 1."""
    reach: float
    """sqrt(sum_c (w_c / n_c)^2) over the group's classes: by how much an image of each moves the mean hit rate."""
    num_deciding: int | None = None
    """Images on which two arms differ in at least half of the repetitions; None for the F1 of a single arm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Error:
    """Standard error of a mean over crossed units and images, and the reference of its t statistic."""

    error: float
    share_of_units: float
    """Share of the variance that is estimated from the units, in [0, 1]."""
    units_freedom: float
    images_freedom: float

    def quantile(self, probability: float) -> float:
        """The quantile of the t statistic: a mean of two Student quantiles, weighted by their shares of the variance.

        Satterthwaite's single number of degrees of freedom is itself estimated, and with two or three units too often
        too large: with 2 units and large effects of a unit it rejected in 2.8 % at 1.25 %.

        Source: Cochran and Cox 1957 (Experimental Designs), section 4.14.

        Args:
            probability: in (0, 1).
        """
        if self.share_of_units == 0:
            return float(special.stdtrit(self.images_freedom, probability))
        return self._upper_quantile(1 - probability)

    def upper_tail(self, statistic: float) -> float:
        """The probability above a value of the t statistic: the inverse of `quantile`."""
        if statistic < 0:
            return 1 - self.upper_tail(-statistic)
        of_images = float(special.stdtr(self.images_freedom, -statistic))
        if self.share_of_units == 0:
            return of_images
        # the mean of two quantiles lies between them, so its probability lies between those of the two distributions
        low, high = sorted((of_images, float(special.stdtr(self.units_freedom, -statistic))))
        low = max(low, np.finfo(float).tiny)
        if self._upper_quantile(low) <= statistic or self._upper_quantile(high) >= statistic:
            return high
        found = optimize.root_scalar(
            lambda p: self._upper_quantile(p) - statistic, bracket=(low, high), xtol=low * 1e-9, method="brentq"
        )
        return float(found.root)

    def _upper_quantile(self, probability: float) -> float:
        """The value that the statistic exceeds with a probability, exact for small ones."""
        # -F^-1(p) of Student's t; scipy.stats takes a hundred times as long for it, and a run asks thousands of times
        of_units, of_images = (-special.stdtrit(nu, probability) for nu in (self.units_freedom, self.images_freedom))
        return float(self.share_of_units * of_units + (1 - self.share_of_units) * of_images)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean, its 95 % interval and the one-sided p-value of "not above 0", below 0.025 where low is above 0."""

    value: float
    low: float
    high: float
    p: float
    error: Error


NOTHING = Estimate(
    value=0.0,
    low=0.0,
    high=0.0,
    p=1.0,
    error=Error(error=0.0, share_of_units=0.0, units_freedom=0.0, images_freedom=math.inf),
)
"""The difference of a thing to itself, or to one that was not run."""


def crossed_error(
    unit_values: Float64[np.ndarray, " units"],
    images_only: Float64[np.ndarray, " replicates"],
    both: Float64[np.ndarray, " replicates"],
    images: ImagesBehind,
) -> Error:
    """Standard error of a mean over crossed units and images.

    For a plain mean its square is the unbiased estimate of the two-way random model, (MS_units + MS_images - MS_rest) /
    (units * images): the bootstrap's variance with both resampled is that of the units, that of the images and
    MS_rest, each times its small-sample factor. It is at least the variance of units or images alone. With one unit,
    whose variance is unknown, only images count.

    Source: Owen 2007 (The pigeonhole bootstrap, Ann. Appl. Stat. 1), section 3, for the factor of three.

    Args:
        unit_values: the statistic of each unit on the original images.
        images_only: replicates with the images resampled.
        both: replicates with units and images resampled.
        images: what the statistic rests on.
    """
    # with S units, N images: of_images = MS_images / SN
    num_units, image_factor = len(unit_values), _image_factor(images)
    of_images = _images_variance(images_only, images)
    if num_units == 1:
        return Error(error=math.sqrt(of_images), share_of_units=0.0, units_freedom=0.0, images_freedom=images.freedom)
    # of_units = MS_units / SN = var(unit means) / S
    unit_factor = num_units / (num_units - 1)
    of_units = float(np.var(unit_values, ddof=1)) / num_units
    # var(both) = of_units (S - 1) / S + of_images (N - 1) / N + of_rest (S - 1)(N - 1) / SN (Owen 2007, section 3)
    rest = float(np.var(both)) - of_units / unit_factor - of_images / image_factor
    of_rest = max(0.0, rest) * unit_factor * image_factor
    # v = (MS_units + MS_images - MS_rest) / SN, and at least that of units or images alone
    variance = max(of_units, of_images, of_units + of_images - of_rest)
    return Error(
        error=math.sqrt(variance),
        share_of_units=of_units / variance if variance > 0 else 0.0,
        units_freedom=num_units - 1.0,
        images_freedom=images.freedom,
    )


def _image_factor(images: ImagesBehind) -> float:
    """What the bootstrap over N images lacks: its variance is (N - 1) / N of the right one."""
    return images.per_class / (images.per_class - 1)


def _images_variance(images_only: Float64[np.ndarray, " replicates"], images: ImagesBehind) -> float:
    return float(np.var(images_only)) * _image_factor(images)


def least_variance(level: float, images: ImagesBehind) -> float:
    """Variance of a mean F1 over images if `LEAST_IMAGES` of each class had differed.

    Near a class's F1, one image that turns from a miss into a hit moves it by about (2 - F1) / 2n: from F1 = 2 TP /
    (n + m), with n images of the class and about as many predicted, dF1 / dTP = (2 - F1) / (n + m).

    Args:
        level: mean F1 of the group, in [0, 1].
        images: what it rests on.
    """
    return LEAST_IMAGES * ((2 - level) / 2 * images.reach) ** 2


def estimate(
    unit_values: Float64[np.ndarray, " units"],
    images_only: Float64[np.ndarray, " replicates"],
    both: Float64[np.ndarray, " replicates"],
    level: float,
    images: ImagesBehind,
) -> Estimate:
    """Mean over units with Student's interval and p-value.

    If exchanging the two arms on an image makes no difference under the null, d images on which they differ all point
    one way with probability 2^-d: no p-value is smaller than that, and the interval contains 0 where it is above 0.025.

    Source: Fisher 1935 (The Design of Experiments, section 21) for the exact test by exchanging pairs.

    Args:
        unit_values: as in `crossed_error`.
        images_only: as in `crossed_error`.
        both: as in `crossed_error`.
        level: mean F1 behind the statistic, in [0, 1]; of a difference, the mean of both arms'.
        images: what the statistic rests on.
    """
    value, seen = float(unit_values.mean()), crossed_error(unit_values, images_only, both, images)
    total = seen.error**2 + max(0.0, least_variance(level, images) - _images_variance(images_only, images))
    if total == 0:  # none of the classes has an image
        return replace(NOTHING, value=value, low=value, high=value)
    error = replace(seen, error=math.sqrt(total), share_of_units=seen.share_of_units * seen.error**2 / total)
    half = error.quantile((1 + LEVEL) / 2) * error.error
    low, high, p = value - half, value + half, error.upper_tail(value / error.error)
    smallest = 0.0 if images.num_deciding is None else 0.5**images.num_deciding
    if smallest > (1 - LEVEL) / 2:
        low, high = min(low, 0.0), max(high, 0.0)
    return Estimate(value=value, low=low, high=high, p=max(p, smallest), error=error)
