"""What repetitions say: variance components of the gain by draw, learning, pool and classifier seed.

This module does not know about arms, predictions or files.
"""

import numpy as np
from jaxtyping import Float64

from flowerti.artifacts.sweep import Replication, VarianceComponent
from flowerti.config.replication import ReplicationConfig
from flowerti.sweep.repetitions import LEVELS, conditional_on, counts_of, num_units, unit_name


def replication_of(
    config: ReplicationConfig, gains: tuple[str, Float64[np.ndarray, " repetitions"]] | None
) -> Replication:
    """How often each step was repeated, and the variance components of gains on a split."""
    return Replication(
        num_draws=config.num_draws,
        num_learnings=config.num_learnings,
        num_pools=config.num_pools,
        num_seeds=config.num_seeds,
        outermost_step=unit_name(config),
        num_units=num_units(config),
        conditional_on=conditional_on(config),
        components=variance_components(gains[1], config) if gains else [],
        components_split=gains[0] if gains else "",
    )


def variance_components(
    gains: Float64[np.ndarray, " repetitions"], config: ReplicationConfig
) -> list[VarianceComponent]:
    """Standard deviations between repetitions by their cause, from a balanced nested analysis of variance.

    With n_k units of level k in each unit of the level above, the expected mean square of level k is
    sigma_last^2 + n_last sigma_(last-1)^2 + ... + (n_(k+1) ... n_last) sigma_k^2; each component is the difference of
    two neighbouring mean squares divided by the number of repetitions in a unit, and 0 where that is negative. A level
    with one unit in each unit of the level above changes together with it, and shares its component; the outermost ones
    with one unit in all have none.

    Source: Searle, Casella and McCulloch 1992 (Variance Components), section 4.4.

    Args:
        gains: the statistic of each repetition, in the order of `sweep.repetitions`.
        config: how often each level is repeated.

    Returns:
        From the outermost level to the innermost; empty with one repetition.
    """
    names, shape = _merged(counts_of(config))
    if not shape:
        return []
    values = gains.reshape(shape)
    # means over all levels inside level k: means[k] has the shape n_1 ... n_k
    means = [values.mean(axis=tuple(range(k, len(shape)))) for k in range(len(shape) + 1)]
    squares, freedoms = [], []
    for k in range(1, len(shape) + 1):
        inside = int(np.prod(shape[k:]))
        freedoms.append(int(np.prod(shape[: k - 1])) * (shape[k - 1] - 1))
        squares.append(inside * float(((means[k] - means[k - 1][..., None]) ** 2).sum()) / freedoms[-1])
    below = [*squares[1:], 0.0]
    return [
        VarianceComponent(
            level=name,
            num_units=int(np.prod(shape[: k + 1])),
            freedom=freedoms[k],
            std=float(np.sqrt(max(0.0, squares[k] - below[k]) / np.prod(shape[k + 1 :]))),
        )
        for k, name in enumerate(names)
    ]


def _merged(counts: tuple[int, ...]) -> tuple[list[str], tuple[int, ...]]:
    """Names and numbers of the levels that are repeated, each with the unrepeated ones inside it."""
    names: list[str] = []
    for level, count in zip(LEVELS, counts, strict=True):
        if count > 1:
            names.append(level)
        elif names:
            names[-1] += f", {level}"
    return names, tuple(count for count in counts if count > 1)
