"""Scores of one class: how far each source's images lie from held-out real ones.

Every value stands beside the same metric between disjoint halves of the real images. Metrics that the number of
images biases (the Fréchet distance, precision to coverage, the Vendi ratio) are taken at the very size of their
floor, on the same halves; the kernel distances and similarities have no such bias and take all images, the distances
cut to one size for all sources. This module receives features; it does not know the images, the extractor's weights,
files, or how the work is spread over machines.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.scores import Comparison, Distance
from flowerti.config.experiment import ScoringConfig
from flowerti.metrics.diversity import vendi_ratio
from flowerti.metrics.floors import against_halves, floor
from flowerti.metrics.frechet import frechet_distance
from flowerti.metrics.kernel import (
    closer_p_value,
    closer_standard_error,
    cmmd,
    kernel_distance,
    kernel_standard_error,
    permutation_p_value,
)
from flowerti.metrics.manifold import precision_recall_density_coverage
from flowerti.metrics.similarity import image_similarity, text_similarity

_MIN_REAL = 4
_MIN_JACKKNIFE = 3
_NORMAL_95 = 1.96
_MANIFOLD = ("precision", "recall", "density", "coverage")

Features = Float[np.ndarray, "_ _"]


def _rng(seed: int, class_name: str, purpose: str) -> np.random.Generator:
    return np.random.default_rng(seed_for(seed, class_name, f"scoring/{purpose}", 0))


def _subsample(
    features: Float[np.ndarray, "num dim"], size: int, rng: np.random.Generator
) -> Float[np.ndarray, "size dim"]:
    return features[np.sort(rng.permutation(len(features))[:size])]


def _check_sizes(class_name: str, real: Features, synthetic: Mapping[str, Features]) -> None:
    if len(real) < _MIN_REAL:
        raise ValueError(
            f"class {class_name!r}: {len(real)} held-out real image(s); scoring needs at least {_MIN_REAL}"
        )
    if not synthetic:
        raise ValueError(f"class {class_name!r}: no synthetic images to score; sample some first")
    for source, features in synthetic.items():
        if len(features) < 2:
            raise ValueError(
                f"class {class_name!r}, source {source!r}: {len(features)} image(s); scoring needs at least 2"
            )


def score_class(
    class_name: str,
    real: Float[np.ndarray, "num_real dim"],
    synthetic: Mapping[str, Features],
    extractor: str,
    config: ScoringConfig,
    seed: int,
    reference: str = "validation",
    text_feature: Float[np.ndarray, " _"] | None = None,
) -> tuple[list[Distance], list[Comparison], list[str]]:
    """Score every source of one class.

    For the kernel distance and CMMD the real images and each source are subsampled to the size of the smallest set.
    The Fréchet distance, precision, recall, density, coverage and the Vendi ratio are means over random halves of the
    real images, at their size. Similarities are means over all pairs. CMMD is left out unless the extractor is
    "clip", because its bandwidth is made for CLIP's unit vectors.

    Args:
        class_name: name of the class; also seeds the random choices.
        real: features of held-out real images, any float dtype, at least 4 rows.
        synthetic: features of each source's images, of the same width, at least 2 rows each.
        extractor: name of the feature extractor, copied into the records.
        config: numbers of permutations, floor splits and neighbours.
        seed: run seed.
        reference: the split of the real images, copied into the records.
        text_feature: feature of the class's description by the same extractor, for the text similarity.

    Returns:
        The metrics of each source; kernel comparisons of `token` with every name, of `lora` with `token`, and of the
        other names with `raw`; and notes on what could not be computed.

    Raises:
        ValueError: too few images, or features that are not finite, do not vary or differ in width; names the class
            and the source.
    """
    _check_sizes(class_name, real, synthetic)
    size = min(len(real), *(len(features) for features in synthetic.values()))
    matched_real = _subsample(real, size, _rng(seed, class_name, "subsample/real"))
    matched = {
        source: _subsample(features, size, _rng(seed, class_name, f"subsample/{source}"))
        for source, features in synthetic.items()
    }
    distances, notes = [], []
    try:
        floors = _floors(real, extractor, config, seed, class_name)
        for source, features in synthetic.items():
            named = {"class_name": class_name, "source": source, "extractor": extractor, "reference": reference}
            try:
                permuting = _rng(seed, class_name, f"permute/{source}")
                rows = [
                    *_halved(real, features, config, lambda s=source: _rng(seed, class_name, f"halves/{s}")),
                    *_matched(matched_real, matched[source], floors, config, permuting),
                    *_similar(real, features, floors, text_feature),
                ]
            except ValueError as error:
                raise ValueError(f"source {source!r} (y) against real images (x): {error}") from error
            distances += [Distance(**named, **{"p_value": None, **row}) for row in rows]
            notes += _missing(f"{class_name}, {source}, {extractor}", rows, config)
        comparisons = _comparisons(class_name, matched_real, matched, extractor, config, seed, reference)
    except ValueError as error:
        raise ValueError(f"class {class_name!r}: {error}") from error
    return distances, comparisons, notes


def _missing(where: str, rows: list[dict[str, Any]], config: ScoringConfig) -> list[str]:
    size = next(row["num_real"] for row in rows if row["metric"] == "frechet")
    if any(row["metric"] == "precision" for row in rows):
        return []
    return [
        f"{where}: no precision, recall, density and coverage, since {size} images on each side are too few for "
        f"{config.num_neighbours} neighbours."
    ]


def _floors(
    real: Float[np.ndarray, "num dim"], extractor: str, config: ScoringConfig, seed: int, class_name: str
) -> dict[str, tuple[float, int]]:
    """Floor and its size for each metric that takes all images; the halves are the same for all of them."""
    metrics = {"kernel": kernel_distance, "image_similarity": image_similarity}
    if extractor == "clip":
        metrics["cmmd"] = cmmd
    return {
        name: floor(real, config.num_floor_splits, _rng(seed, class_name, "floor"), metric)
        for name, metric in metrics.items()
    }


def _halved(
    real: Float[np.ndarray, "num dim"],
    synthetic: Features,
    config: ScoringConfig,
    rng: Callable[[], np.random.Generator],
) -> Iterator[dict[str, Any]]:
    """Metrics at the size of their floor; a new generator for each gives all of them the same halves."""
    metrics: dict[str, Callable[[Features, Features], float]] = {"frechet": frechet_distance}
    if min(len(real) // 2, len(synthetic)) > config.num_neighbours:
        metrics |= {name: partial(_manifold, name, config.num_neighbours) for name in _MANIFOLD}
    metrics["vendi_ratio"] = vendi_ratio
    for name, metric in metrics.items():
        value, at_floor, size = against_halves(real, synthetic, config.num_floor_splits, rng(), metric)
        sizes = {"num_real": size, "num_synthetic": size, "floor_num_images": size}
        yield {"metric": name, "value": value, "floor": at_floor, **sizes}


def _manifold(field: str, num_neighbours: int, real: Features, synthetic: Features) -> float:
    return getattr(precision_recall_density_coverage(real, synthetic, num_neighbours), field)


def _matched(
    real: Float[np.ndarray, "num dim"],
    synthetic: Features,
    floors: Mapping[str, tuple[float, int]],
    config: ScoringConfig,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """Unbiased distances between sets of one size."""
    sizes = {"num_real": len(real), "num_synthetic": len(synthetic)}
    value = kernel_distance(real, synthetic)
    yield {
        "metric": "kernel",
        "value": value,
        **sizes,
        **_at_floor(floors["kernel"]),
        "p_value": permutation_p_value(real, synthetic, config.num_permutations, rng),
        **_interval(value, kernel_standard_error(real, synthetic) if len(real) >= _MIN_JACKKNIFE else None),
    }
    if "cmmd" in floors:
        yield {"metric": "cmmd", "value": cmmd(real, synthetic), **sizes, **_at_floor(floors["cmmd"])}


def _similar(
    real: Float[np.ndarray, "num dim"],
    synthetic: Features,
    floors: Mapping[str, tuple[float, int]],
    text_feature: Float[np.ndarray, " _"] | None,
) -> Iterator[dict[str, Any]]:
    sizes = {"num_real": len(real), "num_synthetic": len(synthetic)}
    at_floor = _at_floor(floors["image_similarity"])
    yield {"metric": "image_similarity", "value": image_similarity(real, synthetic), **sizes, **at_floor}
    if text_feature is not None:
        at_floor = _at_floor((text_similarity(real, text_feature), len(real)))
        yield {"metric": "text_similarity", "value": text_similarity(synthetic, text_feature), **sizes, **at_floor}


def _at_floor(floor_and_size: tuple[float, int]) -> dict[str, Any]:
    return {"floor": floor_and_size[0], "floor_num_images": floor_and_size[1]}


def _interval(value: float, standard_error: float | None) -> dict[str, float | None]:
    if standard_error is None:
        return {"low": None, "high": None}
    return {"low": value - _NORMAL_95 * standard_error, "high": value + _NORMAL_95 * standard_error}


def _comparisons(
    class_name: str,
    real: Float[np.ndarray, "num dim"],
    synthetic: Mapping[str, Float[np.ndarray, "num dim"]],
    extractor: str,
    config: ScoringConfig,
    seed: int,
    reference: str,
) -> list[Comparison]:
    comparisons = []
    for closer, than in _pairs(list(synthetic)):
        purpose = f"exchange/{than}" if closer == "token" else f"exchange/{closer}/{than}"
        near, far = synthetic[closer], synthetic[than]
        rng = _rng(seed, class_name, purpose)
        difference, p_value = closer_p_value(real, near, far, config.num_permutations, rng)
        error = closer_standard_error(real, near, far) if len(real) >= _MIN_JACKKNIFE else None
        comparisons.append(
            Comparison(
                class_name=class_name,
                closer=closer,
                than=than,
                extractor=extractor,
                metric="kernel",
                difference=difference,
                p_value=p_value,
                **_interval(difference, error),
                reference=reference,
            )
        )
    return comparisons


def _pairs(sources: list[str]) -> list[tuple[str, str]]:
    """The token against every name, an adapter against the token alone, and other names against the class name."""
    names = [source for source in sources if source not in ("token", "lora")]
    pairs = [("token", name) for name in names] if "token" in sources else []
    pairs += [("lora", "token")] if {"lora", "token"} <= set(sources) else []
    other_names = [name for name in ("alternative_name", "latin_name") if {name, "raw"} <= set(sources)]
    return [*pairs, *((name, "raw") for name in other_names)]
