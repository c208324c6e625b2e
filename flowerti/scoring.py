"""Scores of one class: how far each source's pictures lie from held-out real ones.

Every value stands beside the same metric between disjoint halves of the real pictures. The Fréchet distance is biased
by the number of pictures, so it is taken at the very size of its floor; the kernel distance has no such bias and takes
all pictures, cut to one size for all sources. This module receives features; it does not know the pictures, the
extractor's weights, files, or how the work is spread over machines.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from flowerti import metrics
from flowerti.artifacts import Comparison, Distance, seed_for
from flowerti.config import ScoringConfig

_MIN_REAL = 4


def _rng(seed: int, class_name: str, purpose: str) -> np.random.Generator:
    return np.random.default_rng(seed_for(seed, class_name, f"scoring/{purpose}", 0))


def _subsample(
    features: Float[np.ndarray, "num dim"], size: int, rng: np.random.Generator
) -> Float[np.ndarray, "size dim"]:
    return features[np.sort(rng.permutation(len(features))[:size])]


def _check_sizes(
    class_name: str,
    real: Float[np.ndarray, "num_real dim"],
    synthetic: Mapping[str, Float[np.ndarray, "_ _"]],
) -> None:
    if len(real) < _MIN_REAL:
        raise ValueError(
            f"class {class_name!r}: {len(real)} held-out real picture(s); scoring needs at least {_MIN_REAL}"
        )
    if not synthetic:
        raise ValueError(f"class {class_name!r}: no synthetic pictures to score; sample some first")
    for source, features in synthetic.items():
        if len(features) < 2:
            raise ValueError(
                f"class {class_name!r}, source {source!r}: {len(features)} picture(s); scoring needs at least 2"
            )


def score_class(
    class_name: str,
    real: Float[np.ndarray, "num_real dim"],
    synthetic: Mapping[str, Float[np.ndarray, "_ _"]],
    extractor: str,
    config: ScoringConfig,
    seed: int,
    reference: str = "validation",
) -> tuple[list[Distance], list[Comparison]]:
    """Score every source of one class.

    For the kernel distance the real pictures and each source are subsampled to the size of the smallest set; for the
    Fréchet distance to half the real pictures, which is the size of its floor. Without a `token` source there are no
    comparisons.

    Args:
        class_name: name of the class; also seeds the random choices.
        real: features of held-out real pictures, any float dtype, at least 4 rows.
        synthetic: features of each source's pictures, of the same width, at least 2 rows each.
        extractor: name of the feature extractor, copied into the records.
        config: numbers of permutations and floor splits.
        seed: run seed.
        reference: the split of the real pictures, copied into the records.

    Returns:
        Metrics "frechet" and "kernel" of each source, and the kernel comparison of `token` with
        every other source.

    Raises:
        ValueError: too few pictures, or features that are not finite, do not vary or differ in
            width; names the class.
    """
    _check_sizes(class_name, real, synthetic)
    size = min(len(real), *(len(features) for features in synthetic.values()))
    matched_real = _subsample(real, size, _rng(seed, class_name, "subsample/real"))
    matched = {
        source: _subsample(features, size, _rng(seed, class_name, f"subsample/{source}"))
        for source, features in synthetic.items()
    }
    try:
        floor = metrics.floor(real, config.num_floor_splits, _rng(seed, class_name, "floor"), metrics.kernel_distance)
        distances = []
        for source, features in synthetic.items():
            try:
                frechet = _frechet(real, features, config, _rng(seed, class_name, f"halves/{source}"))
                kernel = _kernel(matched_real, matched[source], config, _rng(seed, class_name, f"permute/{source}"))
            except ValueError as error:
                raise ValueError(f"source {source!r} (y) against real pictures (x): {error}") from error
            kernel |= {"floor": floor[0], "floor_num_pictures": floor[1]}
            named = {"class_name": class_name, "source": source, "extractor": extractor, "reference": reference}
            distances += [Distance(**named, **frechet), Distance(**named, **kernel)]
        comparisons = _comparisons(class_name, matched_real, matched, config, seed, reference)
    except ValueError as error:
        raise ValueError(f"class {class_name!r}: {error}") from error
    return distances, comparisons


def _frechet(
    real: Float[np.ndarray, "num dim"],
    synthetic: Float[np.ndarray, "_ _"],
    config: ScoringConfig,
    rng: np.random.Generator,
) -> dict[str, Any]:
    value, floor, size = metrics.against_halves(real, synthetic, config.num_floor_splits, rng, metrics.frechet_distance)
    return {
        "metric": "frechet",
        "value": value,
        "num_real": size,
        "num_synthetic": size,
        "floor": floor,
        "floor_num_pictures": size,
        "p_value": None,
    }


def _kernel(
    real: Float[np.ndarray, "num dim"],
    synthetic: Float[np.ndarray, "_ _"],
    config: ScoringConfig,
    rng: np.random.Generator,
) -> dict[str, Any]:
    return {
        "metric": "kernel",
        "value": metrics.kernel_distance(real, synthetic),
        "num_real": len(real),
        "num_synthetic": len(synthetic),
        "p_value": metrics.permutation_p_value(real, synthetic, config.num_permutations, rng),
    }


def _comparisons(
    class_name: str,
    real: Float[np.ndarray, "num dim"],
    synthetic: Mapping[str, Float[np.ndarray, "num dim"]],
    config: ScoringConfig,
    seed: int,
    reference: str,
) -> list[Comparison]:
    if "token" not in synthetic:
        return []
    comparisons = []
    for source in synthetic:
        if source == "token":
            continue
        difference, p_value = metrics.closer_p_value(
            real,
            synthetic["token"],
            synthetic[source],
            config.num_permutations,
            _rng(seed, class_name, f"exchange/{source}"),
        )
        comparisons.append(
            Comparison(
                class_name=class_name,
                closer="token",
                than=source,
                metric="kernel",
                difference=difference,
                p_value=p_value,
                reference=reference,
            )
        )
    return comparisons
