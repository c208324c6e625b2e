"""Trains the first classifier: features with Ray Data, then one task that trains it and evaluates it on validation.

Full fine-tuning may be distributed over several processes. No test image is read.
"""

from dataclasses import dataclass

import numpy as np
import ray
import torch
from jaxtyping import Int64

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of, seed_for
from flowerti.artifacts.records import ClassifierReport
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.classifier.batch_share import WHOLE_BATCH, BatchShare
from flowerti.classifier.batches import LabelledInputs
from flowerti.classifier.report import logits_of, score, train_with_curves
from flowerti.cluster.extractors import BackboneChoice
from flowerti.cluster.image_sets import (
    ClassifierInput,
    classifier_backbone,
    classifier_inputs,
    load_for_training,
    real_set,
    weights_sha256,
)
from flowerti.cluster.scratch import scratch_folder
from flowerti.cluster.session import connect, device_of, notes_place
from flowerti.config.experiment import ClassifierConfig, ClusterConfig
from flowerti.data.dataset import Split
from flowerti.progress import Progress
from flowerti.study import Study
from flowerti.tables.arms import ARMS

_SPLITS: list[Split] = ["train", "validation"]


def classify(study: Study, progress: Progress) -> ClassifierReport:
    """Train a classifier on the training split and return its report on the validation split."""
    experiment = study.experiment
    key = key_of(
        study.census.fingerprint,
        experiment.classifier,
        weights_sha256(classifier_backbone(study)),
        experiment.data.image_size_px,
        experiment.seed,
    )
    report = study.run.load(layout.CLASSIFIER_REPORT, ClassifierReport, key)
    if report is None:
        connect(experiment.cluster)
        progress.did_work()
        num_images, num_classes = len(study.records_of("train")), len(study.dataset.class_names)
        progress.info(f"training on {num_images} images of {num_classes} classes")
        _train(_training_of(study, key, progress), experiment.cluster)
        report = study.run.load(layout.CLASSIFIER_REPORT, ClassifierReport, key)
        assert report is not None
        for point in report.curves:
            progress.metric("classifier/validation_accuracy", point.epoch, point.validation_accuracy)
    return report


@dataclass(frozen=True, kw_only=True, slots=True)
class _ClassifierTraining:
    """Inputs for the training of the first classifier; sent to workers."""

    run: RunDirectory
    key: str
    """Key of the report."""
    class_names: tuple[str, ...]
    inputs: list[ClassifierInput]
    """Of the training and the validation split, in the order of `_SPLITS`, like `class_ids`."""
    class_ids: list[Int64[np.ndarray, "_"]]
    config: ClassifierConfig
    seed: int
    backbone: BackboneChoice
    num_threads: int
    device: str
    """"cpu" or "cuda"."""

    def read(self) -> list[LabelledInputs]:
        """Load the inputs of the training and the validation split."""
        return [
            LabelledInputs(inputs=inputs.read(self.run), class_ids=ids, num_classes=len(self.class_names))
            for inputs, ids in zip(self.inputs, self.class_ids, strict=True)
        ]


def _training_of(study: Study, key: str, progress: Progress) -> _ClassifierTraining:
    experiment = study.experiment
    return _ClassifierTraining(
        run=study.run,
        key=key,
        class_names=study.dataset.class_names,
        inputs=_inputs(study, progress),
        class_ids=[class_ids(study, split) for split in _SPLITS],
        config=experiment.classifier,
        seed=seed_for(experiment.seed, "", "classify", 0),
        backbone=classifier_backbone(study),
        num_threads=experiment.cluster.num_threads_per_worker,
        device=device_of(experiment.cluster),
    )


def _train(training: _ClassifierTraining, cluster: ClusterConfig) -> None:
    """Train in a single task or in several processes, and wait for the result."""
    if cluster.num_workers_per_classifier > 1:
        from flowerti.cluster.data_parallel import train_together

        with scratch_folder("train") as scratch:
            notes = notes_place(training.run, scratch, layout.CLASSIFIER_NOTES)
            given = {"training": training}
            train_together(_train_share, given, cluster.num_workers_per_classifier, cluster, *notes)
        return
    task = ray.remote(_train_on_worker).options(
        num_cpus=cluster.num_cpus_per_worker, num_gpus=cluster.num_gpus_per_worker, max_retries=-1
    )
    ray.get(task.remote(training, WHOLE_BATCH, training.device))


def _train_share(given: dict[str, _ClassifierTraining]) -> None:
    """Entry point of each process of a distributed training."""
    from ray.train.torch import get_device

    from flowerti.cluster.data_parallel import part_of_worker

    training = given["training"]
    # Ray Train's processes see all GPUs of their node, so plain "cuda" would be the same device for all of them
    device = str(get_device()) if training.device == "cuda" else training.device
    _train_on_worker(training, part_of_worker(), device)


def _train_on_worker(training: _ClassifierTraining, share: BatchShare, device: str) -> None:
    """Train the classifier; the process of rank 0 writes the report."""
    torch.set_num_threads(training.num_threads)
    train, validation = training.read()
    backbone = load_for_training(training.backbone, training.config.mode, device)
    model, curves = train_with_curves(train, validation, training.config, training.seed, backbone, share)
    if share.rank > 0:
        return
    scores = score(training.class_names, validation.class_ids, logits_of(model, validation.inputs))
    report = ClassifierReport(
        backbone=backbone.name if backbone else training.backbone.name,
        weights_sha256=backbone.weights_sha256 if backbone else weights_sha256(training.backbone),
        accuracy=scores.accuracy,
        macro_f1=scores.macro_f1,
        curves=curves,
        classes=scores.classes,
        confusion=scores.confusion,
    )
    training.run.save(layout.CLASSIFIER_REPORT, report, training.key)


def _inputs(study: Study, progress: Progress) -> list[ClassifierInput]:
    """Inputs of the training split in plain and mirrored views, and of the validation split in plain ones."""
    own = [real_set(study, "train", "mirrored"), real_set(study, "validation")]
    experiment = study.experiment
    wants_more = experiment.has_rehearsal and any(ARMS[name].is_augmented for name in experiment.sweep.free_arms)
    # the stage after next wants these views: extracted along with the others they need no actors of their own
    ahead = [real_set(study, "train", "augmented")] if wants_more else []
    return classifier_inputs(study, [*own, *ahead], progress)[: len(own)]


def class_ids(study: Study, split: Split) -> Int64[np.ndarray, " num"]:
    """True class ids of a split, in the order of the data set."""
    return np.array([record.class_id for record in study.records_of(split)], dtype=np.int64)
