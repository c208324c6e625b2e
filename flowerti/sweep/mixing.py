"""The training set of a trial: an arm's mixture of real and synthetic images, as arrays.

The synthetic images are a prefix of a seeded permutation, so a larger ratio includes the images of a smaller one. A
curation weight scales the loss of its image; images with weight 0 are excluded. Targets of synthetic images may be
smoothed. This module does not know how a classifier is trained.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Num

from flowerti.artifacts.identity import num_synthetic, seed_for
from flowerti.config.experiment import SweepConfig
from flowerti.sweep.feature_rivals import with_features
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial_data import PoolKey, SharedLabels, TrialData
from flowerti.tables.arms import Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """Real images first, then synthetic or repeated ones."""

    inputs: Num[np.ndarray, "num *shape"]
    class_ids: Int64[np.ndarray, " num"]
    num_real: int
    num_drawn: int
    """Images that synthetic ones may take the place of: the real ones, and features that were drawn beside them."""
    weights: Float[np.ndarray, " num"] | None
    """Loss weight of each image; None where all are 1."""
    smoothing: Float32[np.ndarray, " num"] | None
    """Share of each image's target that is spread over all classes; None where all are 0."""
    own_share: Float32[np.ndarray, " num"] | None = None
    """Share of each image's target that is its class's; None where all are 1."""
    other_ids: Int64[np.ndarray, " num"] | None = None
    """The class that has the rest; None like `own_share`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """Images of a mixture from one source."""

    inputs: Num[np.ndarray, "num *shape"]
    class_ids: Int64[np.ndarray, " num"]
    weights: Float64[np.ndarray, " num"]
    labels: SharedLabels | None = None
    """Where they are not those of `class_ids` alone."""


def mix(data: TrialData, plan: TrialPlan, config: SweepConfig, run_seed: int) -> Mixture:
    """Build the training set of a trial.

    Args:
        data: all arrays.
        plan: the arm and its level (synthetic images as a multiple of a class's real ones; or a probability or share,
            for which whole pools are included), and the repetition, which determines training images, learning, part of
            the pool, and the selected synthetic images.
        config: loss weight of synthetic images, on top of their own (real ones have 1), and the share of their targets
            that is spread over all classes (real images keep theirs, also where they are repeated).
        run_seed: seed of the run.

    Raises:
        ValueError: the ratio requires more images than there are (says how many to generate); augmented features, round
            trips or labels are missing; or the arm changes features, and these are images.
    """
    arm, rows = plan.arm, data.rows(plan.repetition.draw)
    real, real_ids = _real_inputs(data, arm)[rows], data.train_ids[rows]
    first = _Part(inputs=real, class_ids=real_ids, weights=np.ones(len(real)))
    drawn = [
        _of_pool(data, plan, class_id, pool, config, run_seed, first)
        for class_id, pool in data.pools_of(arm, plan.repetition.learning)
    ]
    seed = seed_for(run_seed, "", "sweep/features", plan.repetition.index)
    everything = [first, *drawn, *_round_trips(data, arm, rows, drawn, config, real)]
    parts, num_drawn = _changed_features(everything, arm, seed)
    weights = np.concatenate([part.weights for part in parts]).astype(np.float32)
    own_share, other_ids = _labels(parts)
    return Mixture(
        inputs=np.concatenate([part.inputs for part in parts]),
        class_ids=np.concatenate([part.class_ids for part in parts]),
        num_real=len(real),
        num_drawn=num_drawn,
        weights=None if (weights == 1).all() else weights,
        smoothing=_smoothing(num_drawn, len(weights), 0.0 if arm.is_free else config.synthetic_smoothing),
        own_share=own_share,
        other_ids=other_ids,
    )


def _changed_features(parts: list[_Part], arm: Arm, seed: int) -> tuple[list[_Part], int]:
    """The parts with their features as the arm changes them, and how many images come before the synthetic ones."""
    real, *others = parts
    if not arm.features:
        return parts, len(real.class_ids)
    if real.inputs.ndim != 3:
        raise ValueError(f"arm {arm.name}: changes frozen features, and these are images: use classifier.mode 'head'")
    found, num_drawn = with_features(arm.features, [(part.inputs, part.class_ids) for part in parts], seed)
    if len(found) > len(parts):
        inputs, ids = found[1]
        parts = [real, _Part(inputs=inputs, class_ids=ids, weights=np.ones(len(ids))), *others]
    return [replace(part, inputs=inputs) for part, (inputs, _) in zip(parts, found, strict=True)], num_drawn


def _of_pool(
    data: TrialData,
    plan: TrialPlan,
    class_id: int,
    pool: PoolKey,
    config: SweepConfig,
    run_seed: int,
    real: _Part,
) -> _Part:
    """The images that a class has beside its real ones: drawn ones, or its own again."""
    shuffle = np.random.default_rng(seed_for(run_seed, str(class_id), "sweep/pool", plan.repetition.index))
    if plan.arm.repeats:
        return _repeated(real.inputs, real.class_ids, class_id, plan.ratio, shuffle)
    order = _chosen(data, plan, class_id, pool, shuffle)
    return _synthetic(data, pool, order, class_id, config.synthetic_weight, real.inputs, plan.arm)


def _real_inputs(data: TrialData, arm: Arm) -> np.ndarray:
    """The real features for the arm, augmented if it requires it; raw images are augmented during training instead."""
    if not arm.is_augmented or data.train.ndim != 3:
        return data.train
    if data.augmented is None:
        raise ValueError(f"arm {arm.name}: features of augmented training images are missing: compute them first")
    return data.augmented


def _chosen(
    data: TrialData, plan: TrialPlan, class_id: int, pool: PoolKey, shuffle: np.random.Generator
) -> Int64[np.ndarray, " chosen"]:
    """Indices into a pool: a prefix of a permutation of the kept images; all of them unless the level is a ratio."""
    kept = data.kept(pool, plan.repetition.pool)
    order = kept[shuffle.permutation(len(kept))]
    return order if plan.arm.level != "ratio" else order[: data.num_added(class_id, pool, plan.ratio, plan.repetition)]


def _synthetic(
    data: TrialData,
    pool: PoolKey,
    order: Int64[np.ndarray, " chosen"],
    class_id: int,
    weight: float,
    real: Num[np.ndarray, "_ *rest"],
    arm: Arm,
) -> _Part:
    own, pools = data.weights.get(pool), data.augmented_synthetic if arm.is_augmented else data.synthetic
    return _Part(
        inputs=_with_views_of(real, pools.get(pool, data.synthetic[pool])[order]),
        class_ids=np.full(len(order), class_id, dtype=np.int64),
        # loss weight = the arm's weight of all synthetic images x curation's weight of this one
        weights=weight * (np.ones(len(order)) if own is None else own[order]),
        labels=_labels_of(data, arm, pool, order),
    )


def _labels_of(data: TrialData, arm: Arm, pool: PoolKey, order: Int64[np.ndarray, " chosen"]) -> SharedLabels | None:
    if arm.labels == "own":
        return None
    if pool not in data.labels:
        raise ValueError(f"arm {arm.name}: the labels of its images are missing: read them first")
    found = data.labels[pool]
    share = found.own_share[order] if arm.labels == "shared" else np.zeros(len(order))
    return SharedLabels(own_share=share, source_ids=found.source_ids[order])


def _labels(parts: list[_Part]) -> tuple[Float32[np.ndarray, " num"] | None, Int64[np.ndarray, " num"] | None]:
    """Share of its class and class of the rest for each image of all parts; None where no label is shared."""
    if all(part.labels is None for part in parts):
        return None, None
    found = [
        part.labels or SharedLabels(own_share=np.ones(len(part.class_ids)), source_ids=part.class_ids) for part in parts
    ]
    shares = np.concatenate([one.own_share for one in found]).astype(np.float32)
    return shares, np.concatenate([one.source_ids for one in found])


def _repeated(
    real: Num[np.ndarray, "_ *rest"],
    train_ids: Int64[np.ndarray, " num"],
    class_id: int,
    ratio: float,
    shuffle: np.random.Generator,
) -> _Part:
    """Oversample the real images of a class: each is used once before any is used again."""
    members = shuffle.permutation(np.flatnonzero(train_ids == class_id))
    again = np.resize(members, num_synthetic(ratio, len(members)))
    return _Part(inputs=real[again], class_ids=train_ids[again], weights=np.ones(len(again)))


def _round_trips(
    data: TrialData,
    arm: Arm,
    rows: Int64[np.ndarray, " rows"],
    drawn: list[_Part],
    config: SweepConfig,
    real: Num[np.ndarray, "_ *rest"],
) -> list[_Part]:
    """Round trips of the training images of all classes, or of those that have no images of the arm's source.

    They are weighed like drawn images: otherwise the weight would tell these classes apart.
    """
    if arm.round_trips == "none":
        return []
    trips = data.augmented_round_trips if arm.is_augmented and data.train.ndim == 3 else data.round_trips
    if trips is None:
        raise ValueError(f"arm {arm.name}: round trips of the training images are missing: compute them first")
    for part in drawn if arm.round_trips == "others" else ():
        rows = rows[~np.isin(data.train_ids[rows], part.class_ids)]
    weights = np.full(len(rows), config.synthetic_weight)
    return [_Part(inputs=_with_views_of(real, trips[rows]), class_ids=data.train_ids[rows], weights=weights)]


def _smoothing(num_drawn: int, num: int, of_synthetic: float) -> Float32[np.ndarray, " num"] | None:
    if of_synthetic == 0 or num == num_drawn:
        return None
    return np.where(np.arange(num) < num_drawn, 0, of_synthetic).astype(np.float32)


def _with_views_of(real: Num[np.ndarray, "_ *rest"], synthetic: Num[np.ndarray, "_ *other"]) -> np.ndarray:
    """Repeat the views of synthetic features to match the number of views of real ones."""
    if real.ndim != 3 or real.shape[1] == synthetic.shape[1]:
        return synthetic
    return synthetic[:, np.arange(real.shape[1]) % synthetic.shape[1]]
