"""Train the first classifier: features through Ray Data, then one task that fits and reports on validation.

Full fine-tuning may be shared by several processes. It never asks for a test image.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import ray
import torch

from flowerti.artifacts.identity import key_of, seed_for
from flowerti.artifacts.records import ClassifierReport
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.classifier.report import score, train_with_curves
from flowerti.cluster.features import BackboneChoice
from flowerti.cluster.image_sets import (
    ClassifierInput,
    classifier_backbone,
    classifier_inputs,
    real_set,
    weights_sha256,
)
from flowerti.cluster.session import connect, device_of, notes_place
from flowerti.config.experiment import ClassifierConfig
from flowerti.data.dataset import Split
from flowerti.features.backbones import load_backbone
from flowerti.shares import WHOLE, Part
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
        say(f"training on {len(study.dataset.of('train'))} images of {len(study.dataset.class_names)} classes")
        _train(study, key)
        report = study.run.load(_FILE, ClassifierReport, key)
        assert report is not None
    return report


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What a training needs, wherever it runs."""

    run: RunDirectory
    key: str
    class_names: tuple[str, ...]
    inputs: list[ClassifierInput]
    """Of the training and the validation split, as the ids are."""
    class_ids: list[np.ndarray]
    config: ClassifierConfig
    seed: int
    backbone: BackboneChoice
    num_threads: int
    device: str
    """"cpu" or "cuda"."""


def _train(study: Study, key: str) -> None:
    experiment, cluster = study.experiment, study.experiment.cluster
    job = _Job(
        run=study.run,
        key=key,
        class_names=study.dataset.class_names,
        inputs=inputs_of(study, _SPLITS),
        class_ids=[class_ids(study, split) for split in _SPLITS],
        config=experiment.classifier,
        seed=seed_for(experiment.seed, "", "classify", 0),
        backbone=classifier_backbone(study),
        num_threads=cluster.num_threads_per_worker,
        device=device_of(cluster),
    )
    if cluster.num_workers_per_classifier > 1:
        from flowerti.cluster.data_parallel import train_together

        with tempfile.TemporaryDirectory(prefix="flowerti-train-") as scratch:
            notes = notes_place(study.run, scratch, "classifier/train")
            train_together(_train_a_part, {"job": job}, cluster.num_workers_per_classifier, cluster, *notes)
        return
    task = ray.remote(_train_on_worker).options(
        num_cpus=cluster.num_cpus_per_worker, num_gpus=cluster.num_gpus_per_worker, max_retries=-1
    )
    ray.get(task.remote(job, WHOLE, job.device))


def _train_a_part(given: dict[str, _Job]) -> None:
    """What each process of a shared training does."""
    from ray.train.torch import get_device

    from flowerti.cluster.data_parallel import part_of_worker

    job = given["job"]
    # Train's processes on a node see all its GPUs, so that "cuda" alone would be the same one for all
    _train_on_worker(job, part_of_worker(), str(get_device()) if job.device == "cuda" else job.device)


def _train_on_worker(job: _Job, part: Part, device: str) -> None:
    """Train, and write the report, which the first of several processes does."""
    torch.set_num_threads(job.num_threads)
    choice, is_full = job.backbone, job.config.mode == "full"
    backbone = load_backbone(choice.name, choice.weights, choice.input_size_px) if is_full else None
    if backbone is not None:
        backbone.module.to(device)
    train, validation = (inputs.read(job.run) for inputs in job.inputs)
    train_ids, validation_ids = job.class_ids
    model, curves = train_with_curves(
        train, train_ids, validation, validation_ids, len(job.class_names), job.config, job.seed, backbone, part
    )
    if part.rank > 0:
        return
    logits = model.logits(validation if is_full else validation[:, 0])
    accuracy, macro_f1, classes, confusion = score(job.class_names, validation_ids, logits)
    report = ClassifierReport(
        backbone=choice.name,
        weights_sha256=weights_sha256(choice),
        accuracy=accuracy,
        macro_f1=macro_f1,
        curves=curves,
        classes=classes,
        confusion=confusion,
    )
    job.run.save(_FILE, report, job.key)


def inputs_of(study: Study, splits: list[Split]) -> list[ClassifierInput]:
    """What the classifier learns from and is judged on: the training split mirrored, others plain."""
    views = {split: "mirrored" if split == "train" else "plain" for split in splits}
    return classifier_inputs(study, [real_set(study, split, views=views[split]) for split in splits])


def class_ids(study: Study, split: Split) -> np.ndarray:
    """True class ids of a split, int64, in the order of the data set."""
    return np.array([record.class_id for record in study.dataset.of(split)], dtype=np.int64)
