"""The ceiling stage: features of training images and of their round trips, and the rehearsal's trials in Ray tasks.

It needs no image that was drawn, so it runs before anything is learnt. What is trained and compared is in
`flowerti.ceiling`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
import torch
from jaxtyping import Int64

from flowerti.artifacts import layout
from flowerti.artifacts.ceiling import Ceiling
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.records import ClassifierReport, Selection, Trial
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.ceiling.answers import told
from flowerti.ceiling.protocol import ceiling_question, find_ceiling
from flowerti.ceiling.rehearsal import Rehearsal, choose_rehearsal, draw_rehearsal
from flowerti.ceiling.trials import RehearsalData, RehearsalPlan, train_trial
from flowerti.cluster.classify import class_ids
from flowerti.cluster.features import FeatureSet, compute_features
from flowerti.cluster.image_sets import classifier_backbone, real_set, weights_sha256
from flowerti.cluster.session import connect
from flowerti.config.experiment import ClassifierConfig
from flowerti.features.files import StoredFeatures
from flowerti.progress import Progress
from flowerti.study import Study
from flowerti.tables.arms import ARMS

_MOST_ROUND_TRIPS = 20
"""Images of a class that is not rehearsed that go through the autoencoder."""


def ceiling(study: Study, selection: Selection, report: ClassifierReport, progress: Progress) -> Ceiling | None:
    """What unseen real images and round trips change in rehearsal classes; None where it is not asked.

    Raises:
        ValueError: too few classes have images to spare, or a training diverged.
    """
    config = study.experiment.ceiling
    if config.num_classes == 0:
        return None
    names, train_ids = study.dataset.class_names, class_ids(study, "train")
    weak_ids = [names.index(chosen.class_name) for chosen in selection.selected]
    f1 = {names.index(score.class_name): score.f1 for score in report.classes}
    chosen = choose_rehearsal(train_ids, f1, weak_ids, config.num_classes)
    rehearsal = draw_rehearsal(train_ids, chosen, config.num_more, config.num_draws, study.experiment.seed)
    key = _key(study, rehearsal)
    found = study.run.load(layout.CEILING, Ceiling, key)
    if found is None:
        progress.did_work()
        progress.info(f"rehearsing with {', '.join(names[class_id] for class_id in rehearsal.class_ids)}")
        connect(study.experiment.cluster)
        found = _find(study, rehearsal, train_ids)
        study.run.save(layout.CEILING, found, key)
        for sentence in told(found):
            progress.info(sentence)
    return found


def _key(study: Study, rehearsal: Rehearsal) -> str:
    experiment, sweep = study.experiment, study.experiment.sweep
    return key_of(
        [rehearsal.class_ids, rehearsal.num_kept, rehearsal.num_more],
        experiment.ceiling,
        [sweep.free_arms, sweep.learning_rate_factors, sweep.max_rest_drop, sweep.num_bootstrap],
        sweep.equivalence_margin,
        experiment.classifier,
        weights_sha256(classifier_backbone(study)),
        study.census.fingerprint,
        study.base_sha256,
        experiment.data.image_size_px,
        experiment.seed,
    )


def _find(study: Study, rehearsal: Rehearsal, train_ids: Int64[np.ndarray, " num"]) -> Ceiling:
    experiment, cluster = study.experiment, study.experiment.cluster
    read = ray.remote(_read_on_worker).options(num_cpus=cluster.num_cpus_per_worker, max_retries=-1)
    data = read.remote(_inputs_of(study, rehearsal, train_ids))
    run = ray.remote(_train_on_worker).options(num_cpus=cluster.num_cpus_per_worker, max_retries=-1)

    def train(plans: list[RehearsalPlan]) -> list[Trial]:
        # workers take turns, so that each has as many trials of each kind
        parts = [plans[place :: cluster.num_workers] for place in range(cluster.num_workers)]
        tasks: Any = [
            run.remote(data, part, experiment.classifier, experiment.seed, cluster.num_threads_per_worker)
            for part in parts
        ]
        found: list[list[Trial]] = ray.get(tasks)
        return [found[place % len(parts)][place // len(parts)] for place in range(len(plans))]

    # controls that change features are the sweep's alone
    free_arms = tuple(name for name in experiment.sweep.free_arms if not ARMS[name].features)
    sweep = replace(experiment.sweep, free_arms=free_arms)
    question = ceiling_question(sweep, rehearsal, study.dataset.class_names, experiment.seed)
    return find_ceiling(rehearsal, question, class_ids(study, "validation"), experiment.ceiling, train)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Inputs:
    """The arrays of `RehearsalData` by name; the worker reads them."""

    run: RunDirectory
    rehearsal: Rehearsal
    train_ids: np.ndarray
    round_trip_rows: np.ndarray
    features: dict[str, StoredFeatures]
    """By field of `RehearsalData`."""
    num_classes: int


def _inputs_of(study: Study, rehearsal: Rehearsal, train_ids: Int64[np.ndarray, " num"]) -> _Inputs:
    rows = _round_trip_rows(rehearsal, train_ids)
    has_augmented = any(ARMS[name].is_augmented for name in study.experiment.sweep.free_arms)
    sets = {
        "train": real_set(study, "train", "mirrored"),
        "evaluation": real_set(study, "validation"),
        "round_trip": _through_base(study, real_set(study, "train", "mirrored"), rows),
    }
    if has_augmented:
        sets["augmented"] = real_set(study, "train", "augmented")
        sets["augmented_round_trip"] = _through_base(study, sets["augmented"], rows)
    backbone = classifier_backbone(study)
    sha256, cluster = weights_sha256(backbone), study.experiment.cluster
    found = compute_features(list(sets.values()), backbone, sha256, study.run, cluster, study.experiment.base)
    return _Inputs(
        run=study.run,
        rehearsal=rehearsal,
        train_ids=train_ids,
        round_trip_rows=rows,
        features={field: found[one.name] for field, one in sets.items()},
        num_classes=len(study.dataset.class_names),
    )


def _round_trip_rows(rehearsal: Rehearsal, train_ids: Int64[np.ndarray, " num"]) -> Int64[np.ndarray, " rows"]:
    """The training images that go through the autoencoder: those that a draw keeps, and some of the other classes."""
    kept = [order[class_id][: rehearsal.num_kept] for order in rehearsal.orders for class_id in rehearsal.class_ids]
    others = [class_id for class_id in np.unique(train_ids) if class_id not in rehearsal.class_ids]
    kept += [np.flatnonzero(train_ids == class_id)[:_MOST_ROUND_TRIPS] for class_id in others]
    return np.unique(np.concatenate(kept))


def _through_base(study: Study, images: FeatureSet, rows: Int64[np.ndarray, " rows"]) -> FeatureSet:
    """The same views of some images after they went through the base's autoencoder."""
    return replace(
        images,
        name=images.name.replace("real.", "round_trip.", 1),
        addresses=[images.addresses[row] for row in rows],
        content_key=key_of(images.content_key, rows.tolist()),
        base_sha256=study.base_sha256,
    )


def _read_on_worker(inputs: _Inputs) -> RehearsalData:
    arrays: dict[str, Any] = {field: found.read(inputs.run) for field, found in inputs.features.items()}
    return RehearsalData(
        rehearsal=inputs.rehearsal,
        train_ids=inputs.train_ids,
        round_trip_rows=inputs.round_trip_rows,
        num_classes=inputs.num_classes,
        **{"augmented": None, "augmented_round_trip": None, **arrays},
    )


def _train_on_worker(
    data: RehearsalData, plans: Sequence[RehearsalPlan], config: ClassifierConfig, run_seed: int, num_threads: int
) -> list[Trial]:
    torch.set_num_threads(num_threads)
    return [train_trial(data, plan, config, run_seed) for plan in plans]
