"""Loads the arrays that all trials of the sweep share into Ray's object store.

A task reads them, so they never pass through the driver, which handles only names and curation weights.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import ray
from jaxtyping import Float64, Int64

from flowerti.artifacts.curation import Curation
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.records import ImageSet
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.classify import class_ids
from flowerti.cluster.features import FeatureSet
from flowerti.cluster.image_sets import (
    ClassifierInput,
    classifier_inputs,
    real_set,
    spare_set,
    synthetic_set,
    through_base,
)
from flowerti.data.draws import TrainingDraws
from flowerti.data.shards import read_labels, read_weights
from flowerti.progress import Progress
from flowerti.study import Study
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial_data import PoolKey, SharedLabels, TrialData, check_ratios, check_trial_data

_NUM_READERS = 16
"""Number of threads that read weights: a small request to an object store has a latency of tens of milliseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightedPool:
    """The synthetic images of a class, source and learning, with their curation weights."""

    pool: PoolKey
    images: ImageSet
    weights: Float64[np.ndarray, " num"]
    key: str
    """Hash of the inputs of the images and of their weights."""


def read_pools(study: Study, sets: Sequence[ImageSet], curation: Curation | None = None) -> list[WeightedPool]:
    """All pools with their weights: those in the shards, times what the filters gave; reads one column of each shard.

    Raises:
        ValueError: a shard is damaged; names it.
    """
    names = study.dataset.class_names
    with ThreadPoolExecutor(_NUM_READERS) as readers:
        weights = list(readers.map(lambda images: read_weights(study.run, images.files), sets))
    if curation is not None:
        found = [np.array(curation.weights_of(s.class_name, s.source, s.learning)) for s in sets]
        weights = [own * given for own, given in zip(weights, found, strict=True)]
    return [
        WeightedPool(
            pool=PoolKey(names.index(images.class_name), images.source, images.learning),
            images=images,
            weights=own,
            key=key_of(images.class_name, images.key, images.num_images, hashlib.sha256(own.tobytes()).hexdigest()),
        )
        for images, own in zip(sets, weights, strict=True)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _TrialInputs:
    """The arrays of `TrialData` by name; the worker reads them."""

    run: RunDirectory
    train: list[ClassifierInput]
    """Of the training split, and of the spare images of other draws."""
    evaluation: ClassifierInput
    augmented: list[ClassifierInput]
    synthetic: dict[PoolKey, ClassifierInput]
    augmented_synthetic: dict[PoolKey, ClassifierInput]
    round_trips: list[ClassifierInput]
    """Of the same images as `train`; none where no arm uses them."""
    augmented_round_trips: list[ClassifierInput]
    weights: dict[PoolKey, Float64[np.ndarray, " num"]]
    labels: dict[PoolKey, SharedLabels]
    train_ids: np.ndarray
    num_classes: int
    num_parts: int
    draws: tuple[Int64[np.ndarray, "_"], ...]
    plans: list[TrialPlan]

    def read(self) -> TrialData:
        """Read and validate all arrays.

        Raises:
            ValueError: an array is invalid, or a ratio requires more images than there are.
        """
        data = TrialData(
            train=_read(self.train, self.run),
            train_ids=self.train_ids,
            augmented=_together(self.augmented, self.run),
            round_trips=_together(self.round_trips, self.run),
            augmented_round_trips=_together(self.augmented_round_trips, self.run),
            evaluation=self.evaluation.read(self.run),
            synthetic={pool: images.read(self.run) for pool, images in self.synthetic.items()},
            augmented_synthetic={pool: images.read(self.run) for pool, images in self.augmented_synthetic.items()},
            num_classes=self.num_classes,
            weights=self.weights,
            labels=self.labels,
            num_parts=self.num_parts,
            draws=self.draws,
        )
        check_trial_data(data)
        check_ratios(data, self.plans)
        return data


def _together(inputs: list[ClassifierInput], run: RunDirectory) -> np.ndarray | None:
    return _read(inputs, run) if inputs else None


def _read(inputs: list[ClassifierInput], run: RunDirectory) -> np.ndarray:
    return np.concatenate([one.read(run) for one in inputs]) if len(inputs) > 1 else inputs[0].read(run)


def gather(
    study: Study,
    pools: Sequence[WeightedPool],
    draws: TrainingDraws,
    plans: Sequence[TrialPlan],
    progress: Progress,
) -> ray.ObjectRef:
    """Load the `TrialData` of some trials on one split into the object store, in a task rather than in the driver.

    Waits until the task has validated it, so that invalid arrays are rejected before the first trial.
    """
    task = ray.remote(_read_on_worker).options(
        num_cpus=study.experiment.cluster.num_cpus_per_worker, max_retries=-1, num_returns=2
    )
    references: Any = task.remote(_inputs(study, pools, draws, plans, progress))
    data, num_images = references
    ray.get(num_images)
    return data


def _inputs(
    study: Study,
    pools: Sequence[WeightedPool],
    draws: TrainingDraws,
    plans: Sequence[TrialPlan],
    progress: Progress,
) -> _TrialInputs:
    split = plans[0].split
    pools = [pool for pool in pools if pool.images.source in {plan.arm.pool for plan in plans}]
    is_head = study.experiment.classifier.mode == "head"
    train = _training_sets(study, draws, "mirrored")
    augmented = _training_sets(study, draws, "augmented") if is_head and any(p.arm.is_augmented for p in plans) else []
    synthetic = [synthetic_set(study, pool.images, "mirrored") for pool in pools]
    augmenting = {plan.arm.source for plan in plans if plan.arm.is_augmented and is_head}
    augmented_pools = [pool for pool in pools if pool.images.source in augmenting]
    more = [synthetic_set(study, pool.images, "augmented") for pool in augmented_pools]
    relabelled = {plan.arm.source for plan in plans if plan.arm.labels != "own"}
    through = {plan.arm.is_augmented and is_head for plan in plans if plan.arm.round_trips != "none"}
    trips = [through_base(study, one) for one in (train if False in through else [])]
    augmented_trips = [through_base(study, one) for one in (augmented if True in through else [])]
    wanted = [*train, *augmented, real_set(study, split), *synthetic, *more, *trips, *augmented_trips]
    found = iter(classifier_inputs(study, wanted, progress))
    spare_ids = np.array([record.class_id for record in draws.spare], dtype=np.int64)
    return _TrialInputs(
        run=study.run,
        train=list(islice(found, len(train))),
        augmented=list(islice(found, len(augmented))),
        evaluation=next(found),
        synthetic={pool.pool: next(found) for pool in pools},
        augmented_synthetic={pool.pool: next(found) for pool in augmented_pools},
        round_trips=list(islice(found, len(trips))),
        augmented_round_trips=list(islice(found, len(augmented_trips))),
        weights={pool.pool: pool.weights for pool in pools if (pool.weights != 1).any()},
        labels=_labels(study, [pool for pool in pools if pool.images.source in relabelled]),
        train_ids=np.concatenate([class_ids(study, "train"), spare_ids]),
        num_classes=len(study.dataset.class_names),
        num_parts=study.experiment.replication.num_pools,
        draws=draws.rows,
        plans=list(plans),
    )


def _labels(study: Study, pools: Sequence[WeightedPool]) -> dict[PoolKey, SharedLabels]:
    found, names = {}, study.dataset.class_names
    for pool in pools:
        share, classes = read_labels(study.run, pool.images.files)
        ids = np.array([names.index(name) for name in classes], dtype=np.int64)
        found[pool.pool] = SharedLabels(own_share=share, source_ids=ids)
    return found


def _training_sets(study: Study, draws: TrainingDraws, views: str) -> list[FeatureSet]:
    """The training split, and the spare images if there are draws that use them."""
    return [real_set(study, "train", views), *([spare_set(study, draws, views)] if draws.spare else [])]


def _read_on_worker(inputs: _TrialInputs) -> tuple[TrialData, int]:
    data = inputs.read()
    return data, len(data.train)
