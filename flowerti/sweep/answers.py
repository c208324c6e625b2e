"""What an estimated difference says: it helps, it harms, it is too small to matter, or nobody can tell.

This module does not know what differs.
"""

from flowerti.artifacts.sweep import Answer
from flowerti.sweep.intervals import LEVEL, Error, Estimate

ALPHA, POWER = 0.05, 0.8


def answer_of(estimate: Estimate, margin: float) -> Answer:
    """Tell what a difference says.

    It is equivalent where both one-sided tests at 5 % refuse a difference of `margin` or more: where the 90 % interval
    lies within the margin.

    Source: Schuirmann 1987 (J. Pharmacokinet. Biopharm. 15), two one-sided tests.

    Args:
        estimate: a difference with its 95 % interval.
        margin: the largest difference that does not matter, positive.
    """
    if estimate.low > 0:
        return "helps"
    if estimate.high < 0:
        return "harms"
    # the 95 % interval as it was widened or cut, narrowed to 90 %
    narrower = estimate.error.quantile(1 - ALPHA) / estimate.error.quantile((1 + LEVEL) / 2)
    low = estimate.value - narrower * (estimate.value - estimate.low)
    high = estimate.value + narrower * (estimate.high - estimate.value)
    return "equivalent" if -margin < low and high < margin else "undecided"


def detectable_effect(error: Error) -> float:
    """The true difference that a one-sided test at 5 % finds four times in five: (t_0.95 + t_0.8) times the error.

    Source: Bloom 1995 (Evaluation Review 19), minimum detectable effects.
    """
    return (error.quantile(1 - ALPHA) + error.quantile(POWER)) * error.error
