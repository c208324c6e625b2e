"""Loads the arrays that all trials of the sweep share into Ray's object store.

A task reads them, so they never pass through the driver, which handles only names and curation weights.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from jaxtyping import Float64

from flowerti.artifacts.identity import key_of
from flowerti.artifacts.records import ImageSet
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.classify import class_ids
from flowerti.cluster.image_sets import ClassifierInput, classifier_inputs, real_set, synthetic_set
from flowerti.data.shards import read_weights
from flowerti.study import Study
from flowerti.sweep.rounds import Cell, TrialPlan
from flowerti.sweep.trial_data import PoolKey, TrialData, check_ratios, check_trial_data

_NUM_READERS = 16
"""Number of threads that read weights: a small request to an object store has a latency of tens of milliseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightedPool:
    """The synthetic images of a class and source, with their curation weights."""

    pool: PoolKey
    images: ImageSet
    weights: Float64[np.ndarray, " num"]
    key: str
    """Hash of the inputs of the images and of their weights."""


def read_pools(study: Study, sets: Sequence[ImageSet]) -> list[WeightedPool]:
    """All pools with their weights; reads one column of each shard, once per run.

    Raises:
        ValueError: a shard is damaged; names it.
    """
    names = study.dataset.class_names
    with ThreadPoolExecutor(_NUM_READERS) as readers:
        weights = list(readers.map(lambda images: read_weights(study.run, images.files), sets))
    return [
        WeightedPool(
            pool=(names.index(images.class_name), images.source),
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
    train: ClassifierInput
    evaluation: ClassifierInput
    augmented: ClassifierInput | None
    synthetic: dict[PoolKey, ClassifierInput]
    weights: dict[PoolKey, Float64[np.ndarray, " num"]]
    train_ids: np.ndarray
    num_classes: int
    cells: list[Cell]

    def read(self) -> TrialData:
        """Read and validate all arrays.

        Raises:
            ValueError: an array is invalid, or a ratio requires more images than there are.
        """
        data = TrialData(
            train=self.train.read(self.run),
            train_ids=self.train_ids,
            augmented=self.augmented.read(self.run) if self.augmented else None,
            evaluation=self.evaluation.read(self.run),
            synthetic={pool: images.read(self.run) for pool, images in self.synthetic.items()},
            num_classes=self.num_classes,
            weights=self.weights,
        )
        check_trial_data(data)
        check_ratios(data, self.cells)
        return data


def gather(study: Study, pools: Sequence[WeightedPool], plans: Sequence[TrialPlan]) -> ray.ObjectRef:
    """Load the `TrialData` of some trials on one split into the object store, in a task rather than in the driver.

    Waits until the task has validated it, so that invalid arrays are rejected before the first trial.
    """
    task = ray.remote(_read_on_worker).options(
        num_cpus=study.experiment.cluster.num_cpus_per_worker, max_retries=-1, num_returns=2
    )
    references: Any = task.remote(_inputs(study, pools, plans))
    data, num_images = references
    ray.get(num_images)
    return data


def _inputs(study: Study, pools: Sequence[WeightedPool], plans: Sequence[TrialPlan]) -> _TrialInputs:
    split = plans[0].split
    pools = [pool for pool in pools if pool.images.source in {plan.arm.pool for plan in plans}]
    real = [real_set(study, "train", views="mirrored"), real_set(study, split)]
    is_head = study.experiment.classifier.mode == "head"
    if is_head and any(plan.arm.is_augmented for plan in plans):
        real.append(real_set(study, "train", views="augmented"))
    synthetic = [synthetic_set(study, pool.images, "mirrored") for pool in pools]
    found = classifier_inputs(study, [*real, *synthetic])
    return _TrialInputs(
        run=study.run,
        train=found[0],
        evaluation=found[1],
        augmented=found[2] if len(real) == 3 else None,
        synthetic={pool.pool: images for pool, images in zip(pools, found[len(real) :], strict=True)},
        weights={pool.pool: pool.weights for pool in pools if (pool.weights != 1).any()},
        train_ids=class_ids(study, "train"),
        num_classes=len(study.dataset.class_names),
        cells=list(dict.fromkeys(Cell(plan.arm, plan.ratio) for plan in plans)),
    )


def _read_on_worker(inputs: _TrialInputs) -> tuple[TrialData, int]:
    data = inputs.read()
    return data, len(data.train)
