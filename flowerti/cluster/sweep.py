"""The ratio sweep with Ray Tune: every trial is the plain function `sweep.run_trial` on shared arrays.

A finished trial is a file in the run directory, so that a killed sweep repeats none. The arrays lie once in the object
store. Trials predict validation; after the ratio is chosen, a few final trials open the test split.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import torch
from ray import tune

from flowerti.artifacts.identity import key_of
from flowerti.artifacts.records import ImageSet, Selection, SweepTable, Timing, Trial
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.sweep import SweepCosts, SweepIntent
from flowerti.cluster.classify import class_ids
from flowerti.cluster.features import BackboneChoice
from flowerti.cluster.image_sets import (
    ClassifierInput,
    classifier_backbone,
    classifier_inputs,
    real_set,
    synthetic_set,
    weights_sha256,
)
from flowerti.cluster.session import connect, device_of, notes_place
from flowerti.config.experiment import ClassifierConfig, ClusterConfig, SweepConfig
from flowerti.data.dataset import Split
from flowerti.data.shards import read_weights
from flowerti.features.backbones import load_backbone
from flowerti.study import Study
from flowerti.sweep.costs import arm_costs
from flowerti.sweep.mixing import TrialData, check_ratios, check_trial_data, pool_source
from flowerti.sweep.protocol import SweepQuestion, intent, run_sweep
from flowerti.sweep.trial import TrialPlan, run_trial

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


def sweep(study: Study, selection: Selection, sets: list[ImageSet], say: Callable[[str], None]) -> SweepTable:
    """Run all arms on validation, choose the ratio there, and confirm it once on test; see `sweep.protocol`."""
    question = _question(study, selection, sets)
    stated = intent(question)
    if study.run.load("sweep/intent.json", SweepIntent, key_of(stated)) is None:
        study.run.save("sweep/intent.json", stated, key_of(stated))

    def train(plans: list[TrialPlan]) -> tuple[list[Trial], list[str]]:
        return _run_plans(study, sets, plans, say)

    table = run_sweep(question, lambda split: class_ids(study, split), train)
    study.run.save("sweep/table.json", table, key_of(table))
    cluster = study.experiment.cluster
    num_cpus = cluster.num_workers * cluster.num_cpus_per_worker
    costs = SweepCosts(arms=arm_costs(table.rows, sets, _timings(study.run), num_cpus))
    study.run.save("sweep/costs.json", costs, key_of(costs))
    return table


def _question(study: Study, selection: Selection, sets: list[ImageSet]) -> SweepQuestion:
    names = study.dataset.class_names
    return SweepQuestion(
        config=study.experiment.sweep,
        class_names=names,
        weak_ids=[names.index(s.class_name) for s in selection.selected],
        num_train=np.bincount(class_ids(study, "train"), minlength=len(names)).tolist(),
        pools=Counter(s.source for s in sets),
        run_seed=study.experiment.seed,
    )


def _timings(run: RunDirectory) -> dict[str, Timing]:
    found = {name: run.load(f"timings/{name}.json", Timing) for name in ("invert", "adapt", "sample")}
    return {name: timing for name, timing in found.items() if timing is not None}


def _run_plans(
    study: Study, sets: list[ImageSet], plans: list[TrialPlan], say: Callable[[str], None]
) -> tuple[list[Trial], list[str]]:
    keys = {plan: _key(study, sets, plan) for plan in plans}
    missing = [plan for plan in plans if _load(study.run, plan, keys[plan]) is None]
    failures: list[str] = []
    if missing:
        split = missing[0].split
        say(f"{len(missing)} trials on {split}")
        connect(study.experiment.cluster)
        failures = _tune(study, _gather(study, sets, plans, split), missing, keys)
    return _complete({plan: _load(study.run, plan, keys[plan]) for plan in plans}, failures), failures


def _complete(trials: dict[TrialPlan, Trial | None], failures: list[str]) -> list[Trial]:
    """Gains are paired by seed, so an arm that lacks one seed is left out whole; its failures are in the report."""
    lacking = {(plan.arm, plan.ratio) for plan, trial in trials.items() if trial is None}
    if any(arm == "real" for arm, _ in lacking):
        raise RuntimeError(f"the baseline of the sweep failed, nothing can be compared: {'; '.join(failures)}")
    return [trial for trial in trials.values() if trial is not None and (trial.arm, trial.ratio) not in lacking]


def _file(plan: TrialPlan) -> str:
    return f"sweep/trials/{plan.name}.json"


def _load(run: RunDirectory, plan: TrialPlan, key: str) -> Trial | None:
    return run.load(_file(plan), Trial, key)


def _key(study: Study, sets: list[ImageSet], plan: TrialPlan) -> str:
    experiment = study.experiment
    source, sweep_config = pool_source(plan.arm), experiment.sweep
    pools = [[s.class_name, s.sha256, s.num_images] for s in sets if s.source == source]
    return key_of(
        plan,
        pools,
        sweep_config.synthetic_weight if source else 1.0,
        # left out where it is off, so that trials from before there was one stay valid
        *([sweep_config.synthetic_smoothing] if source and sweep_config.synthetic_smoothing else []),
        sweep_config.refit_epochs,
        experiment.classifier,
        weights_sha256(classifier_backbone(study)),
        study.census.fingerprint,
        experiment.data.image_size_px,
        experiment.seed,
    )


def _gather(study: Study, sets: list[ImageSet], plans: list[TrialPlan], split: Split) -> ray.ObjectRef:
    """The arrays that all trials share, read by a task into the object store and never by the driver.

    Waits until the task has checked them, so that unfit ones are refused before the first trial.
    """
    cluster, names = study.experiment.cluster, study.dataset.class_names
    wanted = [real_set(study, "train", views="mirrored"), real_set(study, split)]
    pools = [synthetic_set(study, s, "mirrored") for s in sets]
    wants_augmented = study.experiment.classifier.mode == "head" and "augmented" in study.experiment.sweep.free_arms
    augmented = [real_set(study, "train", views="augmented")] if wants_augmented else []
    inputs = classifier_inputs(study, [*wanted, *pools, *augmented])
    pool_names = [f"{names.index(s.class_name)}/{s.source}" for s in sets]
    task = ray.remote(_read_on_worker).options(num_cpus=cluster.num_cpus_per_worker, max_retries=-1, num_returns=2)
    references: Any = task.remote(
        study.run,
        inputs[:2],
        dict(zip(pool_names, inputs[2 : 2 + len(sets)], strict=True)),
        inputs[-1] if wants_augmented else None,
        {name: s.files for name, s in zip(pool_names, sets, strict=True)},
        class_ids(study, "train"),
        len(names),
        sorted({(plan.arm, plan.ratio) for plan in plans}),
    )
    data, num_images = references
    ray.get(num_images)
    return data


def _read_on_worker(
    run: RunDirectory,
    real: list[ClassifierInput],
    synthetic: dict[str, ClassifierInput],
    augmented: ClassifierInput | None,
    files: dict[str, list[str]],
    train_ids: np.ndarray,
    num_classes: int,
    arms: list[tuple[str, float]],
) -> tuple[TrialData, int]:
    train, evaluation = (part.read(run) for part in real)
    weights = {name: read_weights(run, of_pool) for name, of_pool in files.items()}
    data = TrialData(
        train=train,
        train_ids=train_ids,
        augmented=augmented.read(run) if augmented else None,
        evaluation=evaluation,
        synthetic={name: pool.read(run) for name, pool in synthetic.items()},
        num_classes=num_classes,
        weights={name: of_pool for name, of_pool in weights.items() if (of_pool != 1).any()},
    )
    check_trial_data(data)
    check_ratios(data, arms)
    return data, len(train)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What every trial needs besides the shared arrays."""

    plans: list[TrialPlan]
    keys: list[str]
    run: RunDirectory
    classifier: ClassifierConfig
    sweep: SweepConfig
    backbone: BackboneChoice
    run_seed: int
    num_threads: int
    device: str
    """Where a network is trained, "cpu" or "cuda"; heads on features stay on the CPU."""


def _train_point(point: dict[str, int], data: list[ray.ObjectRef], job: _Job) -> None:
    """Tune's trainable: one trial from its number to its file. Module level, so that it travels by name."""
    torch.set_num_threads(job.num_threads)
    shared: TrialData = ray.get(data[0])
    plan, choice = job.plans[point["plan"]], job.backbone
    is_full = job.classifier.mode == "full"
    backbone = load_backbone(choice.name, choice.weights, choice.input_size_px) if is_full else None
    if backbone is not None:
        backbone.module.to(job.device)
    trial = run_trial(shared, plan, job.classifier, job.run_seed, backbone, job.sweep)
    job.run.save(_file(plan), trial, job.keys[point["plan"]])
    tune.report({"num_steps": trial.num_steps})


def _tune(study: Study, data: ray.ObjectRef, plans: list[TrialPlan], keys: dict[TrialPlan, str]) -> list[str]:
    experiment, cluster = study.experiment, study.experiment.cluster
    job = _Job(
        plans=plans,
        keys=[keys[plan] for plan in plans],
        run=study.run,
        classifier=experiment.classifier,
        sweep=experiment.sweep,
        backbone=classifier_backbone(study),
        run_seed=experiment.seed,
        num_threads=cluster.num_threads_per_worker,
        device=device_of(cluster),
    )
    with tempfile.TemporaryDirectory(prefix="flowerti-tune-") as scratch:
        results = run_points(
            tune.with_parameters(_train_point, data=[data], job=job),
            len(plans),
            cluster,
            experiment.sweep.max_concurrent_trials,
            *notes_place(study.run, scratch, "sweep/tune"),
        )
    return [f"{plans[r.config['plan']].name}: {r.error}" for r in results if r.error and r.config]


def run_points(
    trainable: Callable[..., Any],
    num_points: int,
    cluster: ClusterConfig,
    max_concurrent: int,
    storage: str,
    filesystem: "FileSystem | None" = None,
) -> tune.ResultGrid:
    """Have Tune call a trainable with {"plan": 0}, {"plan": 1} and so on, reusing its workers.

    Args:
        trainable: gets the point.
        num_points: how many.
        cluster: resources of a trial and attempts at one.
        max_concurrent: trials at once; 0 lets the cluster's resources decide.
        storage: where Tune may keep notes; nothing of them is read back.
        filesystem: what `storage` is a path of; the local disk where it is None.
    """
    resources = {"cpu": cluster.num_cpus_per_worker, "gpu": cluster.num_gpus_per_worker}
    return tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={"plan": tune.grid_search(list(range(num_points)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=max_concurrent or None, reuse_actors=True),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=storage,
            storage_filesystem=filesystem,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=cluster.max_retries_per_class),
        ),
    ).fit()
