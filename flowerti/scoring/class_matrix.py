"""Distances of every set of images to the held-out real images of every class: is a token nearest to its own class?

The unbiased kernel distance uses all images; the bias of the Fréchet distance depends on their number, so all sets and
classes are reduced to the same size. The terms of a class are computed once, and one matrix product compares all sets
with it, which gives the same values as `metrics` at a fraction of the cost. This module receives features; it does not
know the images, files, or how the work is spread over machines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.scores import MatrixRow
from flowerti.metrics.checks import checked
from flowerti.metrics.kernel import gram

MIN_REAL = 4
"""Held-out real images that a class needs to stand among the columns."""

Sets = Mapping[tuple[str, str], Float[np.ndarray, "_ _"]]
"""Features by (class name, source)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Columns:
    """Fields shared by all rows of a matrix."""

    extractor: str
    class_names: Sequence[str]
    kept: list[str]
    """The classes that have enough images, in the order of the values."""


def class_matrix(
    sets: Sets,
    real: Mapping[str, Float[np.ndarray, "_ _"]],
    class_names: Sequence[str],
    extractor: str,
    seed: int,
    *,
    size: int | None = None,
) -> tuple[list[MatrixRow], list[str]]:
    """Kernel and Fréchet distances of every set to every class.

    A class with fewer than 4 held-out real images has no values, takes no part in the ranks, and its sets get no row.

    Args:
        sets: features of each (class, source), any float dtype, at least 2 rows each; source "real" for the class's
            training images.
        real: features of the held-out real images of every class.
        class_names: the columns, in order.
        extractor: name of the feature extractor, copied into the records.
        seed: run seed; decides which images the Fréchet distance takes.
        size: how many images of each set and class it takes; None for as many as the smallest has. The blocks of a
            larger matrix must all take the same number.

    Returns:
        A row of each set and metric, and notes on what is missing.

    Raises:
        ValueError: a class is missing, or features are too few, not finite, do not vary or differ in width; names
            class and source.
    """
    if not sets:
        return [], []
    all_sets, kept = _checked_sets(sets, real, class_names)
    notes = [
        f"{name}: {len(real[name])} held-out real image(s), too few to stand among the classes that sets are "
        f"compared with (at least {MIN_REAL})."
        for name in class_names
        if name not in kept
    ]
    ranked = {key: features for key, features in all_sets.items() if key[0] in kept}
    if not ranked:
        return [], notes
    columns = _Columns(extractor=extractor, class_names=class_names, kept=list(kept))
    size = size or min(len(features) for features in (*ranked.values(), *kept.values()))
    return _rows(columns, ranked, kept, seed, size), notes


def _checked_sets(
    sets: Sets, real: Mapping[str, Float[np.ndarray, "_ _"]], class_names: Sequence[str]
) -> tuple[dict[tuple[str, str], Float64[np.ndarray, "_ _"]], dict[str, Float64[np.ndarray, "_ _"]]]:
    """Sets and classes in float64, without the classes that have too few images."""
    for name in class_names:
        if name not in real:
            raise ValueError(f"class {name!r}: no held-out real images; give features of every class")
    dim = next(iter(sets.values())).shape[1]
    checked_sets = {}
    for (name, source), features in sets.items():
        where = f"class {name!r}, source {source!r}"
        if name not in class_names:
            raise ValueError(f"{where}: the class is not among the columns")
        checked_sets[name, source] = _checked(where, features, dim)
    kept = [name for name in class_names if len(real[name]) >= MIN_REAL]
    return checked_sets, {name: _checked(f"class {name!r}, held-out real images", real[name], dim) for name in kept}


def _rows(
    columns: _Columns,
    sets: Mapping[tuple[str, str], Float64[np.ndarray, "_ dim"]],
    real: Mapping[str, Float64[np.ndarray, "_ dim"]],
    seed: int,
    size: int,
) -> list[MatrixRow]:
    kernel = _kernel_values(sets, real)
    frechet = _frechet_values(
        {key: _subsample(features, size, seed, *key) for key, features in sets.items()},
        {name: _subsample(features, size, seed, name, "held_out") for name, features in real.items()},
    )
    all_real = [len(features) for features in real.values()]
    rows = []
    for i, (key, features) in enumerate(sets.items()):
        rows.append(_row(columns, key, "kernel", kernel[i], all_real, len(features)))
        rows.append(_row(columns, key, "frechet", frechet[i], [size] * len(real), size))
    return rows


def _checked(where: str, features: Float[np.ndarray, "_ _"], dim: int) -> Float64[np.ndarray, "_ _"]:
    if features.shape[1] != dim:
        raise ValueError(f"{where}: features of width {features.shape[1]} beside {dim}; use one extractor for all")
    return checked(where, features)


def _subsample(
    features: Float64[np.ndarray, "num dim"], size: int, seed: int, class_name: str, source: str
) -> Float64[np.ndarray, "size dim"]:
    rng = np.random.default_rng(seed_for(seed, class_name, f"class_matrix/{source}", 0))
    return features[np.sort(rng.permutation(len(features))[:size])]


def _kernel_values(
    sets: Mapping[tuple[str, str], Float64[np.ndarray, "_ dim"]], real: Mapping[str, Float64[np.ndarray, "_ dim"]]
) -> Float64[np.ndarray, "sets classes"]:
    """Unbiased squared maximum mean discrepancies; Gretton et al. 2012 (JMLR 13), equation 3."""
    sizes = np.array([len(features) for features in sets.values()])
    starts = np.cumsum(sizes) - sizes
    stacked = np.concatenate(list(sets.values()))
    of_sets = np.array([_mean_within(features) for features in sets.values()])
    values = np.empty((len(sets), len(real)))
    for j, features in enumerate(real.values()):
        # mean k(x, y) of each set with the class: row means of the stacked sets, added up set by set
        between = np.add.reduceat(gram(stacked, features).mean(axis=1), starts) / sizes
        # mean k(x, x') + mean k(y, y') - 2 mean k(x, y), without the pairs of an image with itself
        values[:, j] = of_sets + _mean_within(features) - 2 * between
    return values


def _mean_within(features: Float64[np.ndarray, "num dim"]) -> float:
    matrix = gram(features, features)
    np.fill_diagonal(matrix, 0.0)
    return float(matrix.sum() / (len(features) * (len(features) - 1)))


def _frechet_values(
    sets: Mapping[tuple[str, str], Float64[np.ndarray, "num dim"]], real: Mapping[str, Float64[np.ndarray, "num dim"]]
) -> Float64[np.ndarray, "sets classes"]:
    """Squared Fréchet distances between Gaussians fitted to sets of one size; Heusel et al. 2017, equation 6.

    With A and B the centred features over sqrt(n - 1), tr sqrt(Sx Sy) is the sum of the singular values of A B^T.
    """
    means = np.stack([features.mean(axis=0) for features in sets.values()])
    centred = np.stack([_centred(features) for features in sets.values()])
    spreads = (centred**2).sum(axis=(1, 2))  # tr Sx
    num_sets, size, dim = centred.shape
    values = np.empty((num_sets, len(real)))
    for j, features in enumerate(real.values()):
        own = _centred(features)
        # [sets * size, dim] x [dim, size] -> A B^T of all sets: [sets, size, size]
        products = (centred.reshape(-1, dim) @ own.T).reshape(num_sets, size, len(own))
        cross = np.linalg.svd(products, compute_uv=False).sum(axis=1)  # tr sqrt(Sx Sy)
        shifts = ((means - features.mean(axis=0)) ** 2).sum(axis=1)
        # |mx - my|^2 + tr Sx + tr Sy - 2 tr sqrt(Sx Sy)
        values[:, j] = shifts + spreads + (own**2).sum() - 2 * cross
    return values


def _centred(features: Float64[np.ndarray, "num dim"]) -> Float64[np.ndarray, "num dim"]:
    return (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)


def _row(
    columns: _Columns,
    key: tuple[str, str],
    metric: str,
    values: Float64[np.ndarray, " kept"],
    num_real: list[int],
    num_synthetic: int,
) -> MatrixRow:
    kept = columns.kept
    value_of, num_of = dict(zip(kept, values.tolist(), strict=True)), dict(zip(kept, num_real, strict=True))
    class_name, source = key
    return MatrixRow(
        class_name=class_name,
        source=source,
        extractor=columns.extractor,
        metric=metric,
        values=[value_of.get(name) for name in columns.class_names],
        num_real=[num_of.get(name, 0) for name in columns.class_names],
        num_synthetic=num_synthetic,
        rank=1 + int((values < value_of[class_name]).sum()),
        nearest=kept[int(values.argmin())],
    )
