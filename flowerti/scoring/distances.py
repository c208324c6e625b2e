"""Scores of one class: metrics between each source's images and held-out real images.

Every value is reported with its floor, usually the same metric between disjoint halves of the real images.
`metric_table` defines the metrics and the images that each is computed on. This module receives features; it does not
know the images, the extractor's weights, files, or how the work is spread over machines.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy import stats

from flowerti.artifacts.scores import Comparison, Distance
from flowerti.config.experiment import ScoringConfig
from flowerti.metrics.floors import against_halves, floor
from flowerti.scoring.class_features import ClassFeatures, generator, has_copies, is_one_image
from flowerti.scoring.comparisons import compare_sources
from flowerti.scoring.metric_table import Features, Metric, Taken, metrics_for

_MIN_JACKKNIFE = 3
"""Images on each side that a standard error needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScores:
    """Scores of one class."""

    distances: list[Distance]
    comparisons: list[Comparison]
    notes: list[str]
    """What could not be computed, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scored:
    """Inputs of the scores of one class."""

    whole: ClassFeatures
    matched: ClassFeatures
    """All sets cut to one size."""
    config: ScoringConfig
    seed: int
    floors: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    """Mean between halves of the real images, and the images in a half, by metric."""

    def rng(self, purpose: str) -> np.random.Generator:
        """A new generator, always the same one for a given purpose."""
        return generator(self.seed, self.whole.class_name, purpose)

    def function(self, metric: Metric) -> Callable[..., float]:
        """The metric as a function of two arrays."""
        if metric.uses_neighbours:
            return partial(metric.function, num_neighbours=self.config.num_neighbours)
        return metric.function

    def num_needed(self, metric: Metric) -> int:
        """Images that the metric needs on each side."""
        return max(metric.min_images, self.config.num_neighbours + 1 if metric.uses_neighbours else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    """A number with its floor, test and interval, and the images behind it."""

    value: float
    floor: float
    floor_num_images: int
    num_real: int
    num_synthetic: int
    p_value: float | None = None
    low: float | None = None
    high: float | None = None


def score_class(features: ClassFeatures, config: ScoringConfig, seed: int) -> ClassScores:
    """Score every source of one class.

    Args:
        features: of the class's real and synthetic images.
        config: numbers of permutations, floor splits and neighbours.
        seed: run seed.

    Returns:
        The metrics of each source, the comparisons of sources with their rivals, and notes on what is missing.

    Raises:
        ValueError: a source is unknown, there are too few images, or features are not finite, do not vary or differ in
            width; names the class and the source.
    """
    features.check()
    scored = _Scored(whole=features, matched=features.matched(seed), config=config, seed=seed)
    distances, notes = [], []
    try:
        scored = dataclasses.replace(scored, floors=_floors(scored))
        for source in features.synthetic:
            found = _score_source(scored, source)
            distances += found
            notes += _missing(scored, source, found)
        comparisons = compare_sources(scored.matched, config, seed)
    except ValueError as error:
        raise ValueError(f"class {features.class_name!r}: {error}") from error
    return ClassScores(distances=distances, comparisons=comparisons, notes=notes)


def _floors(scored: _Scored) -> dict[str, tuple[float, int]]:
    """Floors of the metrics that are one value between two sets; the halves are the same for all of them."""
    real = scored.whole.real
    return {
        metric.name: floor(real, scored.config.num_floor_splits, scored.rng("floor"), scored.function(metric))
        for metric in metrics_for(scored.whole.extractor)
        if metric.taken in ("matched", "all") and len(real) // 2 >= scored.num_needed(metric)
    }


def _score_source(scored: _Scored, source: str) -> list[Distance]:
    whole = scored.whole
    found = []
    for metric in _askable(scored):
        if _num_per_side(scored, metric, source) < scored.num_needed(metric):
            continue
        try:
            measured = _WAYS[metric.taken](scored, metric, source)
        except ValueError as error:
            if has_copies(whole.synthetic[source]) or is_one_image(source, whole.synthetic[source]):
                # a part of a set of few images again and again may be one image alone
                continue
            raise ValueError(f"source {source!r} (y) against real images (x): {error}") from error
        found.append(
            Distance(
                class_name=whole.class_name,
                source=source,
                extractor=whole.extractor,
                reference=whole.reference,
                metric=metric.name,
                **dataclasses.asdict(measured),
            )
        )
    return found


def _askable(scored: _Scored) -> list[Metric]:
    has_text = scored.whole.text is not None
    return [metric for metric in metrics_for(scored.whole.extractor) if has_text or metric.taken != "text"]


def _num_per_side(scored: _Scored, metric: Metric, source: str) -> int:
    """Images on the smaller side of a metric or of its floor."""
    given = scored.matched if metric.taken == "matched" else scored.whole
    num_real, num_synthetic = len(given.real), len(given.synthetic[source])
    return min(num_real if metric.taken == "text" else len(scored.whole.real) // 2, num_real, num_synthetic)


def _missing(scored: _Scored, source: str, found: list[Distance]) -> list[str]:
    """One note for each reason why metrics are omitted."""
    present = {distance.metric for distance in found}
    reasons: dict[str, list[str]] = {}
    for metric in _askable(scored):
        if metric.name not in present:
            size, needed = _num_per_side(scored, metric, source), scored.num_needed(metric)
            few = f"since {size} images on each side are too few"
            by_neighbours = metric.uses_neighbours and needed > metric.min_images
            why = f"{few} for {needed - 1} neighbours" if by_neighbours else f"{few} (at least {needed})"
            if size >= needed:
                why = "since too many of its images are the same"
            reasons.setdefault(why, []).append(metric.label)
    where = f"{scored.whole.class_name}, {source}, {scored.whole.extractor}"
    return [f"{where}: no {_listed(labels)}, {why}." for why, labels in reasons.items()]


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _at_halves(scored: _Scored, metric: Metric, source: str) -> _Measured:
    """At the size of the floor, on the floor's own halves, which are the same for every source and metric."""
    real, synthetic = scored.whole.real, scored.whole.synthetic[source]
    splits, rngs = scored.config.num_floor_splits, (scored.rng("halves"), scored.rng(f"halves/{source}"))
    value, at_floor, size = against_halves(real, synthetic, splits, *rngs, scored.function(metric))
    return _Measured(value=value, floor=at_floor, floor_num_images=size, num_real=size, num_synthetic=size)


def _between_matched(scored: _Scored, metric: Metric, source: str) -> _Measured:
    return _between(scored, metric, source, scored.matched)


def _between_all(scored: _Scored, metric: Metric, source: str) -> _Measured:
    return _between(scored, metric, source, scored.whole)


def _between(scored: _Scored, metric: Metric, source: str, given: ClassFeatures) -> _Measured:
    """One value between two sets, with its test and interval where the metric has them."""
    real, synthetic = given.real, given.synthetic[source]
    at_floor, size = scored.floors[metric.name]
    value = float(scored.function(metric)(real, synthetic))
    low, high = _interval_95(metric, value, real, synthetic)
    return _Measured(
        value=value,
        floor=at_floor,
        floor_num_images=size,
        num_real=len(real),
        num_synthetic=len(synthetic),
        p_value=_p_value(scored, metric, source, given),
        low=low,
        high=high,
    )


def _p_value(scored: _Scored, metric: Metric, source: str, given: ClassFeatures) -> float | None:
    if metric.p_value is None:
        return None
    rng = scored.rng(f"permute/{source}")
    return metric.p_value(given.real, given.synthetic[source], scored.config.num_permutations, rng)


def _interval_95(
    metric: Metric, value: float, real: Features, synthetic: Features
) -> tuple[float | None, float | None]:
    """Student's 95 % interval with one degree of freedom less than the images of the smaller set; None for none."""
    smallest = min(len(real), len(synthetic))
    if metric.standard_error is None or smallest < _MIN_JACKKNIFE:
        return None, None
    half = float(stats.t.ppf(0.975, smallest - 1)) * metric.standard_error(real, synthetic)
    return value - half, value + half


def _against_text(scored: _Scored, metric: Metric, source: str) -> _Measured:
    """Between images and the text feature; the floor is the value of all real images."""
    whole, function = scored.whole, scored.function(metric)
    return _Measured(
        value=float(function(whole.synthetic[source], whole.text)),
        floor=float(function(whole.real, whole.text)),
        floor_num_images=len(whole.real),
        num_real=len(whole.real),
        num_synthetic=len(whole.synthetic[source]),
    )


_WAYS: dict[Taken, Callable[[_Scored, Metric, str], _Measured]] = {
    "halves": _at_halves,
    "matched": _between_matched,
    "all": _between_all,
    "text": _against_text,
}
