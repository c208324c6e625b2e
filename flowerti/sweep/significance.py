"""Two formulas for the sweep's tables: p-values adjusted for multiple comparisons, and the interval of a proportion.

This module does not know what is compared.
"""

import math
from collections.abc import Sequence

from scipy import stats

from flowerti.sweep.intervals import LEVEL


def holm_by(p_values: Sequence[float], families: Sequence[object]) -> list[float]:
    """Adjust p-values within their families: the k-th smallest of m times m - k + 1, never falling, at most 1.

    Source: Holm 1979 (Scand. J. Statist. 6).

    Args:
        p_values: in [0, 1].
        families: the family of each p-value.
    """
    adjusted = [1.0] * len(p_values)
    for family in set(families):
        members = sorted((i for i, own in enumerate(families) if own == family), key=lambda i: p_values[i])
        so_far = 0.0
        for place, i in enumerate(members):
            # adjusted_(k) = max over j <= k of min(1, (m - j + 1) p_(j)), with k = place + 1
            so_far = max(so_far, min(1.0, p_values[i] * (len(members) - place)))
            adjusted[i] = so_far
    return adjusted


def wilson(share: float, num: int) -> tuple[float, float]:
    """95 % interval of a share of `num` images; of a mean over seeds as well, which is no whole number of them.

    Source: Wilson 1927 (JASA 22).

    Args:
        share: in [0, 1].
        num: at least 1.
    """
    # z = Phi^-1(0.975)
    z2 = float(stats.norm.ppf((1 + LEVEL) / 2)) ** 2
    # centre = (s + z^2 / 2n) / (1 + z^2 / n)
    centre = (share + z2 / (2 * num)) / (1 + z2 / num)
    # half = z sqrt(s (1 - s) / n + z^2 / 4n^2) / (1 + z^2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / num + z2 / (4 * num**2))) / (1 + z2 / num)
    return max(0.0, centre - half), min(1.0, centre + half)
