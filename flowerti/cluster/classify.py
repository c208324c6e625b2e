"""Train the first classifier: features through Ray Data, then one task that fits and reports on validation.

It never asks for a test picture.
"""

from collections.abc import Callable

import numpy as np
import ray
import torch

from flowerti.artifacts import ClassifierReport, key_of, seed_for
from flowerti.classifier_report import score, train_with_curves
from flowerti.cluster.features import BackboneChoice
from flowerti.cluster.picture_sets import (
    ClassifierInput,
    classifier_backbone,
    classifier_inputs,
    real_set,
    weights_sha256,
)
from flowerti.cluster.session import connect, device_of
from flowerti.config import ClassifierConfig
from flowerti.data import Split
from flowerti.features import load_backbone
from flowerti.run_directory import RunDirectory
from flowerti.study import Study

_FILE = "classifier/report.json"
_SPLITS: list[Split] = ["train", "validation"]


def classify(study: Study, say: Callable[[str], None]) -> ClassifierReport:
    """The report of a classifier trained on the training split, judged on the validation split."""
    experiment = study.experiment
    key = key_of(
        study.census.fingerprint,
        experiment.classifier,
        weights_sha256(classifier_backbone(study)),
        experiment.data.image_size_px,
        experiment.seed,
    )
    report = study.run.load(_FILE, ClassifierReport, key)
    if report is None:
        connect(experiment.cluster)
        say(f"training on {len(study.dataset.of('train'))} pictures of {len(study.dataset.class_names)} classes")
        report = _train(study)
        study.run.save(_FILE, report, key)
    return report


def _train(study: Study) -> ClassifierReport:
    experiment, cluster = study.experiment, study.experiment.cluster
    task = ray.remote(_train_on_worker).options(
        num_cpus=cluster.num_cpus_per_worker, num_gpus=cluster.num_gpus_per_worker, max_retries=-1
    )
    inputs = inputs_of(study, _SPLITS)
    ids = [class_ids(study, split) for split in _SPLITS]
    seed = seed_for(experiment.seed, "", "classify", 0)
    names, backbone = study.dataset.class_names, classifier_backbone(study)
    config, num_threads = experiment.classifier, cluster.num_threads_per_worker
    device = device_of(cluster)
    return ray.get(task.remote(study.run, names, inputs, ids, config, seed, backbone, num_threads, device))


def _train_on_worker(
    run: RunDirectory,
    class_names: tuple[str, ...],
    inputs: list[ClassifierInput],
    ids: list[np.ndarray],
    config: ClassifierConfig,
    seed: int,
    choice: BackboneChoice,
    num_threads: int,
    device: str,
) -> ClassifierReport:
    torch.set_num_threads(num_threads)
    is_full = config.mode == "full"
    backbone = load_backbone(choice.name, choice.weights, choice.input_size_px) if is_full else None
    if backbone is not None:
        backbone.module.to(device)
    train, validation = (part.read(run) for part in inputs)
    model, curves = train_with_curves(train, ids[0], validation, ids[1], len(class_names), config, seed, backbone)
    logits = model.logits(validation if is_full else validation[:, 0])
    accuracy, macro_f1, classes, confusion = score(class_names, ids[1], logits)
    return ClassifierReport(
        backbone=choice.name,
        weights_sha256=weights_sha256(choice),
        accuracy=accuracy,
        macro_f1=macro_f1,
        curves=curves,
        classes=classes,
        confusion=confusion,
    )


def inputs_of(study: Study, splits: list[Split]) -> list[ClassifierInput]:
    """What the classifier learns from and is judged on: the training split mirrored, others plain."""
    views = {split: "mirrored" if split == "train" else "plain" for split in splits}
    return classifier_inputs(study, [real_set(study, split, views=views[split]) for split in splits])


def class_ids(study: Study, split: Split) -> np.ndarray:
    """True class ids of a split, int64, in the order of the data set."""
    return np.array([record.class_id for record in study.dataset.of(split)], dtype=np.int64)
