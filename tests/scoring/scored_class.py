"""A class of drawn features, its scores, and single values among them."""

import numpy as np

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import ScoringConfig
from flowerti.scoring.class_features import ClassFeatures
from flowerti.scoring.distances import score_class

CONFIG = ScoringConfig(num_permutations=199, num_floor_splits=5)


def features_of(num, shift, seed, dim=6):
    return np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32) + np.float32(shift)


def score_all(real, synthetic, seed=0, extractor="efficientnet_lite0", **settings):
    features = ClassFeatures(class_name="ball moss", extractor=extractor, real=real, synthetic=synthetic, **settings)
    return score_class(features, CONFIG, seed)


def score_pair(real, synthetic, seed=0):
    scores = score_all(real, synthetic, seed)
    return scores.distances, scores.comparisons


def value_of(distances, source, metric):
    (found,) = [d for d in distances if (d.source, d.metric) == (source, metric)]
    return found


def shift_of_means(x, y):
    return float(np.abs(x.mean(axis=0) - y.mean(axis=0)).sum())


def halves_of(num_real, num_synthetic, source, seed):
    """The random halves as the documentation of `against_halves` has them."""
    of_halves, of_source = (
        np.random.default_rng(seed_for(seed, "ball moss", f"scoring/{purpose}", 0))
        for purpose in ("halves", f"halves/{source}")
    )
    size = min(num_real // 2, num_synthetic)
    for _ in range(CONFIG.num_floor_splits):
        order, chosen = of_halves.permutation(num_real), of_source.permutation(num_synthetic)[:size]
        yield order[:size], chosen, order[size : 2 * size]
