"""A whole sweep in this process in place of Ray's workers."""

from types import SimpleNamespace
from typing import Any

import pytest
from features_here import compute_here

from flowerti.artifacts import layout
from flowerti.cluster import curate, trial_arrays
from flowerti.cluster import sweep as stage
from flowerti.cluster.image_sets import classifier_backbone, load_for_training
from flowerti.cluster.trials import TrialToRun
from flowerti.progress import Progress
from flowerti.study import Study
from flowerti.sweep.trial import run_trial
from flowerti.sweep.trial_data import TrialData


class RayHere:
    """What `ray.remote(function).options(...).remote(...)` and `ray.get` do, at once."""

    @staticmethod
    def remote(function: Any) -> Any:
        task = SimpleNamespace(remote=function)
        return SimpleNamespace(options=lambda **settings: task)

    @staticmethod
    def get(answer: Any) -> Any:
        return answer


def sweep_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have `cluster.sweep.sweep` run in this process; returns the names of the trials that it trains, as they come."""
    trained: list[str] = []

    def train(study: Study, data: TrialData, trials: list[TrialToRun], progress: Progress) -> list[str]:
        experiment = study.experiment
        backbone = load_for_training(classifier_backbone(study), experiment.classifier.mode, "cpu")
        for one in trials:
            trained.append(one.plan.name)
            found = run_trial(data, one.plan, experiment.classifier, experiment.seed, backbone, experiment.sweep)
            study.run.save(layout.trial(one.plan.name), found, one.key)
        return []

    compute_here(monkeypatch)
    for module in (stage, curate):
        monkeypatch.setattr(module, "connect", lambda cluster: None)
    monkeypatch.setattr(curate, "ray", RayHere)
    monkeypatch.setattr(stage, "gather", lambda *given: trial_arrays._inputs(*given).read())
    monkeypatch.setattr(stage, "train_trials", train)
    return trained
