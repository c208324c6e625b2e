"""Whether one source lies nearer to the real images than another, by the kernel distance.

The table of sources defines the pairs. This module does not know about other metrics.
"""

from collections.abc import Collection

from flowerti.artifacts.scores import Comparison
from flowerti.config.experiment import ScoringConfig
from flowerti.metrics.nearer import compare_nearness
from flowerti.scoring.class_features import ClassFeatures, generator
from flowerti.scoring.metric_table import COMPARISON_METRIC
from flowerti.tables.sources import SOURCES, Source


def compare_sources(matched: ClassFeatures, config: ScoringConfig, seed: int) -> list[Comparison]:
    """Compare each source with those of its rivals that have images; not where a set is one image again and again.

    Neither p-values nor intervals are adjusted for the number of comparisons: each is about its own pair.

    Args:
        matched: features of one class, all sets of one size.
        config: number of permutations.
        seed: run seed.

    Raises:
        ValueError: features are not finite, do not vary or differ in width.
    """
    same = [source for source, features in matched.synthetic.items() if (features == features[0]).all()]
    pairs = [pair for pair in comparison_pairs(matched.synthetic) if not set(pair) & set(same)]
    return [_compare(matched, closer, than, config, seed) for closer, than in pairs]


def comparison_pairs(sources: Collection[str]) -> list[tuple[str, str]]:
    """Each source that has images with each rival that has some, in the order of the table."""
    return [
        (source.name, rival)
        for source in SOURCES
        if source.name in sources
        for rival in rivals_of(source)
        if rival in sources
    ]


def rivals_of(source: Source) -> tuple[str, ...]:
    """The sources that it is compared with; for the judged source these include all names."""
    names = tuple(other.name for other in SOURCES if other.is_name) if source.is_judged else ()
    return tuple(dict.fromkeys((*source.rivals, *names)))


def _compare(matched: ClassFeatures, closer: str, than: str, config: ScoringConfig, seed: int) -> Comparison:
    real, near, far = matched.real, matched.synthetic[closer], matched.synthetic[than]
    purpose = f"{SOURCES[closer].comparison_seed or f'exchange/{closer}'}/{than}"
    rng = generator(seed, matched.class_name, purpose)
    found = compare_nearness(real, near, far, config.num_permutations, rng)
    return Comparison(
        class_name=matched.class_name,
        closer=closer,
        than=than,
        extractor=matched.extractor,
        metric=COMPARISON_METRIC,
        difference=found.difference,
        p_value=found.p_value,
        low=found.low,
        high=found.high,
        reference=matched.reference,
    )
