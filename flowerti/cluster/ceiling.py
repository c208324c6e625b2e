"""The ceiling stage: features of training images and of their round trips, and the rehearsal's trials in Ray tasks.

It needs no image that was drawn, so it runs before anything is learnt. What is trained and compared is in
`flowerti.ceiling`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from flowerti.ceiling.protocol import Rehearsed, Train, ceiling_question, find_ceiling, find_curve
from flowerti.ceiling.rehearsal import Rehearsal, choose_rehearsal, draw_rehearsal
from flowerti.ceiling.trials import RehearsalData, RehearsalPlan, train_trial
from flowerti.cluster.classify import class_ids
from flowerti.cluster.features import FeatureSet, compute_features
from flowerti.cluster.image_sets import classifier_backbone, real_set, through_base, weights_sha256
from flowerti.cluster.session import connect
from flowerti.config.experiment import ClassifierConfig
from flowerti.features.files import StoredFeatures
from flowerti.progress import Progress
from flowerti.study import Study
from flowerti.sweep.power import FEW, detectable_gain
from flowerti.tables.arms import ARMS, Arm

_NO_ROWS = np.zeros(0, dtype=np.int64)
_PARTS_OF_A_WORKER = 4
"""Into which the trials of a worker are split: one whose process starts late is left fewer of them."""
_MOST_ROUND_TRIPS = 10
"""Images of a class that is not rehearsed that go through the autoencoder."""


def ceiling(study: Study, selection: Selection, report: ClassifierReport, progress: Progress) -> Ceiling | None:
    """What unseen real images and round trips change in rehearsal classes; None where it is not asked, or cannot be.

    Raises:
        ValueError: a class that is named has no images to spare, or a training diverged.
    """
    if not study.experiment.has_rehearsal:
        return None
    about = _about(study, selection, report)
    if isinstance(about, str):
        progress.info(f"there is no rehearsal: {about}")
        return None
    key = _key(study, about)
    found = study.run.load(layout.CEILING, Ceiling, key)
    if found is None:
        progress.did_work()
        names = [study.dataset.class_names[class_id] for class_id in about.rehearsal.class_ids]
        progress.info(f"rehearsing with {', '.join(names)}")
        connect(study.experiment.cluster)
        found = find_ceiling(_rehearsed(study, about, progress), study.experiment.ceiling)
        study.run.save(layout.CEILING, found, key)
        for sentence in told(found):
            progress.info(sentence)
    return found


def curve_on(study: Study, selection: Selection, report: ClassifierReport, control: str, progress: Progress) -> Ceiling:
    """The curve of unseen images, in a run with a rehearsal, on top of another control than the rehearsal's best.

    Raises:
        ValueError: as `ceiling`.
    """
    about = _about(study, selection, report)
    assert not isinstance(about, str), "there is no rehearsal"
    key = key_of(_key(study, about), control)
    found = study.run.load(layout.CEILING_CURVE, Ceiling, key)
    if found is None:
        progress.did_work()
        progress.info(f"what unseen real images are worth on top of {control}")
        connect(study.experiment.cluster)
        known = study.run.load(layout.CEILING, Ceiling, _key(study, about))
        factors = known.learning_rate_factors if known else {}
        found = find_curve(_rehearsed(study, about, progress), ARMS[control], factors)
        study.run.save(layout.CEILING_CURVE, found, key)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _About:
    """What a rehearsal is about."""

    rehearsal: Rehearsal
    train_ids: Int64[np.ndarray, " num"]
    detectable_effect: float


def _about(study: Study, selection: Selection, report: ClassifierReport) -> _About | str:
    """What the rehearsal is about, or why there is none."""
    experiment, names, train_ids = study.experiment, study.dataset.class_names, class_ids(study, "train")
    weak_ids = [names.index(chosen.class_name) for chosen in selection.selected]
    f1 = {names.index(score.class_name): score.f1 for score in report.classes}
    config = experiment.ceiling
    chosen = choose_rehearsal(train_ids, f1, weak_ids, config, names)
    if chosen is None:
        return "no class that is not weak has images to spare"
    num_validation = np.bincount(class_ids(study, "validation"))[weak_ids]
    return _About(
        rehearsal=draw_rehearsal(train_ids, chosen, config.num_more, config.num_draws, experiment.seed),
        train_ids=train_ids,
        detectable_effect=detectable_gain(len(weak_ids), round(float(num_validation.mean())), FEW),
    )


def _key(study: Study, about: _About) -> str:
    experiment, sweep, rehearsal = study.experiment, study.experiment.sweep, about.rehearsal
    return key_of(
        [rehearsal.class_ids, rehearsal.num_kept, rehearsal.num_more, about.detectable_effect],
        dataclasses.replace(experiment.ceiling, goes_on=False),
        [sweep.free_arms, sweep.learning_rate_factors, sweep.max_rest_drop, sweep.num_bootstrap],
        sweep.equivalence_margin,
        experiment.classifier,
        weights_sha256(classifier_backbone(study)),
        study.census.fingerprint,
        study.base_sha256,
        experiment.data.image_size_px,
        experiment.seed,
    )


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


def _rehearsed(study: Study, about: _About, progress: Progress) -> Rehearsed:
    experiment, known = study.experiment, _real_sets(study)
    plain = _trainer(study, _inputs_of(study, about, known, _NO_ROWS, progress), progress)

    def with_round_trips(control: Arm) -> Train:
        rows = _round_trip_rows(about)
        seen = known["augmented" if control.is_augmented else "train"]
        sets = known | {"round_trip": through_base(study, seen, rows)}
        return _trainer(study, _inputs_of(study, about, sets, rows, progress), progress)

    return Rehearsed(
        rehearsal=about.rehearsal,
        question=ceiling_question(experiment.sweep, about.rehearsal, study.dataset.class_names, experiment.seed),
        true_ids=class_ids(study, "validation"),
        train=plain,
        train_with_round_trips=with_round_trips,
        detectable_effect=about.detectable_effect,
    )


def _trainer(study: Study, inputs: _Inputs, progress: Progress) -> Train:
    """Runs trials in Ray tasks, on arrays that a task reads once."""
    experiment, cluster = study.experiment, study.experiment.cluster
    read = ray.remote(_read_on_worker).options(num_cpus=cluster.num_cpus_per_worker, max_retries=-1)
    data = read.remote(inputs)
    run = ray.remote(_train_on_worker).options(num_cpus=cluster.num_cpus_per_worker, max_retries=-1)

    def submit(part: list[RehearsalPlan]) -> ray.ObjectRef:
        return run.remote(data, part, experiment.classifier, experiment.seed, cluster.num_threads_per_worker)

    def train(plans: list[RehearsalPlan]) -> list[Trial]:
        size = math.ceil(len(plans) / (_PARTS_OF_A_WORKER * cluster.num_workers))
        parts = [plans[begin : begin + size] for begin in range(0, len(plans), size)]
        found: list[list[Trial]] = ray.get(_at_most(cluster.num_workers, submit, parts, progress))
        return [trial for of_part in found for trial in of_part]

    return train


def _at_most(
    num: int,
    submit: Callable[[list[RehearsalPlan]], ray.ObjectRef],
    parts: list[list[RehearsalPlan]],
    progress: Progress,
) -> list[ray.ObjectRef]:
    """The answers to all parts, no more than `num` of which are asked for at a time: more would count as waiting."""
    asked: list[ray.ObjectRef] = []
    total = sum(len(part) for part in parts)
    for num_done in range(1, len(parts) + 1):
        asked += [submit(part) for part in parts[len(asked) : num_done - 1 + num]]
        done, _ = ray.wait(asked, num_returns=num_done)
        num_trials = sum(len(part) for one, part in zip(asked, parts, strict=False) if one in done)
        progress.advance(num_trials, total, "trials")
    return asked


def _real_sets(study: Study) -> dict[str, FeatureSet]:
    """Real images, by field of `RehearsalData`."""
    sets = {"train": real_set(study, "train", "mirrored"), "evaluation": real_set(study, "validation")}
    if any(ARMS[name].is_augmented for name in study.experiment.sweep.free_arms):
        sets["augmented"] = real_set(study, "train", "augmented")
    return sets


def _inputs_of(
    study: Study,
    about: _About,
    sets: dict[str, FeatureSet],
    round_trip_rows: Int64[np.ndarray, " rows"],
    progress: Progress,
) -> _Inputs:
    backbone = classifier_backbone(study)
    sha256, cluster = weights_sha256(backbone), study.experiment.cluster
    found = compute_features(list(sets.values()), backbone, sha256, study.run, cluster, study.experiment.base, progress)
    return _Inputs(
        run=study.run,
        rehearsal=about.rehearsal,
        train_ids=about.train_ids,
        round_trip_rows=round_trip_rows,
        features={field: found[one.name] for field, one in sets.items()},
        num_classes=len(study.dataset.class_names),
    )


def _round_trip_rows(about: _About) -> Int64[np.ndarray, " rows"]:
    """The training images that go through the autoencoder: those that a draw uses, and some of the other classes."""
    rehearsal, train_ids = about.rehearsal, about.train_ids
    num = rehearsal.num_kept + rehearsal.num_more[-1]
    kept = [order[class_id][:num] for order in rehearsal.orders for class_id in rehearsal.class_ids]
    others = [class_id for class_id in np.unique(train_ids) if class_id not in rehearsal.class_ids]
    kept += [np.flatnonzero(train_ids == class_id)[:_MOST_ROUND_TRIPS] for class_id in others]
    return np.unique(np.concatenate(kept))


def _read_on_worker(inputs: _Inputs) -> RehearsalData:
    arrays: dict[str, Any] = {field: found.read(inputs.run) for field, found in inputs.features.items()}
    return RehearsalData(
        rehearsal=inputs.rehearsal,
        train_ids=inputs.train_ids,
        round_trip_rows=inputs.round_trip_rows,
        num_classes=inputs.num_classes,
        **{"augmented": None, "round_trip": None, **arrays},
    )


def _train_on_worker(
    data: RehearsalData, plans: Sequence[RehearsalPlan], config: ClassifierConfig, run_seed: int, num_threads: int
) -> list[Trial]:
    torch.set_num_threads(num_threads)
    return [train_trial(data, plan, config, run_seed) for plan in plans]
