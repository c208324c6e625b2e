"""The Wilson interval of a proportion; this module does not know what is counted."""


def wilson_interval(num_hits: int, num: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion: all p with |num_hits / num - p| <= z sqrt(p (1 - p) / num); Wilson 1927, JASA 22.

    Args:
        num_hits: hits, at most `num`.
        num: trials, at least 1.
        level: coverage, in (0, 1).

    Raises:
        ValueError: there are no trials, or hits outside [0, num].
    """
    from scipy.stats import binomtest

    if num < 1 or not 0 <= num_hits <= num:
        raise ValueError(
            f"num_hits: {num_hits} of {num}; a share needs at least one trial and no more hits than trials"
        )
    interval = binomtest(num_hits, num).proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)
