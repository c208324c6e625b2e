"""Runs the trials of the sweep with Ray Tune: each calls `sweep.trial.run_trial` on shared arrays.

The result of a trial is a file in the run directory. This module does not know which trials there are, nor what they
are for.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
import torch
from ray import tune

from flowerti.artifacts import layout
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.extractors import BackboneChoice
from flowerti.cluster.image_sets import classifier_backbone, load_for_training
from flowerti.cluster.scratch import scratch_folder
from flowerti.cluster.session import device_of, notes_place
from flowerti.config.experiment import ClassifierConfig, ClusterConfig, SweepConfig
from flowerti.progress import Progress
from flowerti.study import Study
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial import run_trial
from flowerti.sweep.trial_data import TrialData

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_REPORT_EVERY_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialToRun:
    """A trial, and the key that its file will have."""

    plan: TrialPlan
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Setting:
    """Inputs of every trial besides the shared arrays."""

    trials: list[TrialToRun]
    run: RunDirectory
    classifier: ClassifierConfig
    sweep: SweepConfig
    backbone: BackboneChoice
    run_seed: int
    num_threads: int
    device: str
    """Device for whole networks, "cpu" or "cuda"; linear heads on features are always trained on the CPU."""


def train_trials(study: Study, data: ray.ObjectRef, trials: list[TrialToRun], progress: Progress) -> list[str]:
    """Run trials and write their results to the run directory.

    Args:
        study: the run.
        data: `TrialData` in the object store.
        trials: the trials to run.
        progress: receives the number of finished trials.

    Returns:
        One sentence for each trial that failed.
    """
    experiment, cluster = study.experiment, study.experiment.cluster
    setting = _Setting(
        trials=trials,
        run=study.run,
        classifier=experiment.classifier,
        sweep=experiment.sweep,
        backbone=classifier_backbone(study),
        run_seed=experiment.seed,
        num_threads=cluster.num_threads_per_worker,
        device=device_of(cluster),
    )
    with scratch_folder("tune") as scratch:
        results = run_points(
            tune.with_parameters(_train_point, data=[data], setting=setting),
            len(trials),
            cluster,
            experiment.sweep.max_concurrent_trials,
            *notes_place(study.run, scratch, layout.SWEEP_NOTES),
            progress=progress,
        )
    return [f"{trials[r.config['point']].plan.name}: {r.error}" for r in results if r.error and r.config]


def _train_point(point: dict[str, int], data: list[ray.ObjectRef], setting: _Setting) -> None:
    """Tune's trainable: runs the trial with a given index and writes its file. Module level, to be pickled by name."""
    torch.set_num_threads(setting.num_threads)
    shared: TrialData = ray.get(data[0])
    trial, choice = setting.trials[point["point"]], setting.backbone
    backbone = load_for_training(choice, setting.classifier.mode, setting.device)
    outcome = run_trial(shared, trial.plan, setting.classifier, setting.run_seed, backbone, setting.sweep)
    setting.run.save(layout.trial(trial.plan.name), outcome, trial.key)
    tune.report({"num_steps": outcome.num_steps})


class _Counter(tune.Callback):
    """Reports the number of finished trials, including failed ones."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress, self._reported_s = 0, total, progress, time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Exclude it from Tune's checkpoints: listeners may not be picklable, and checkpoints are never restored."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune's hook for a successful trial."""
        self._count()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune's hook for a trial that failed after all retries."""
        self._count()

    def _count(self) -> None:
        self._done += 1
        if self._done == self._total or time.monotonic() - self._reported_s >= _REPORT_EVERY_S:
            self._reported_s = time.monotonic()
            self._progress.advance(self._done, self._total, "trials")


def run_points(
    trainable: Callable[..., Any],
    num_points: int,
    cluster: ClusterConfig,
    max_concurrent: int,
    storage: str,
    filesystem: "FileSystem | None" = None,
    progress: Progress | None = None,
) -> tune.ResultGrid:
    """Have Tune call a trainable with {"point": 0}, {"point": 1} and so on, reusing its workers.

    Args:
        trainable: the function to call.
        num_points: number of calls.
        cluster: resources and number of retries of a trial.
        max_concurrent: maximum number of concurrent trials; 0 for as many as the cluster can hold.
        storage: path for Tune's internal files, which are never read back.
        filesystem: file system of `storage`; None for the local disk.
        progress: receives the number of finished trials.
    """
    resources = {"cpu": cluster.num_cpus_per_worker, "gpu": cluster.num_gpus_per_worker}
    return tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={"point": tune.grid_search(list(range(num_points)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=max_concurrent or None, reuse_actors=True),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=storage,
            storage_filesystem=filesystem,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=cluster.max_retries_per_class),
            callbacks=[_Counter(num_points, progress or Progress())],
        ),
    ).fit()
