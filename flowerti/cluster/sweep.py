"""The sweep stage: runs the protocol, reusing finished trials and training those that are missing.

A finished trial is a file in the run directory under a key of all its inputs, so an interrupted sweep repeats none.
Trials predict the validation split; once the ratio is chosen, a few final trials predict the test split. The plan is
written down before the first trial, and the opening of the test split before the first final one.
`trial_arrays` provides the arrays of trials, `trials` runs them.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flowerti import __version__
from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.locked_protocol import open_test, state_intent
from flowerti.artifacts.records import ImageSet, Selection, SweepTable, Trial
from flowerti.artifacts.sweep import SweepCosts, SweepIntent
from flowerti.cluster.classify import class_ids
from flowerti.cluster.curate import curate
from flowerti.cluster.image_sets import classifier_backbone, weights_sha256
from flowerti.cluster.session import connect
from flowerti.cluster.trial_arrays import WeightedPool, gather, read_pools
from flowerti.cluster.trials import TrialToRun, train_trials
from flowerti.config.experiment import Experiment
from flowerti.config.techniques import techniques_for
from flowerti.data.dataset import SPLITS
from flowerti.data.draws import TrainingDraws
from flowerti.progress import Progress
from flowerti.stage_clock import read_timing
from flowerti.study import Study
from flowerti.sweep.costs import Clocks, arm_costs
from flowerti.sweep.predictions import kept_trials, write_predictions
from flowerti.sweep.protocol import intent, run_sweep
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.rounds import TrialPlan
from flowerti.tables import Table
from flowerti.tables.arms import BASELINE
from flowerti.tables.sources import SOURCES


def sweep(study: Study, selection: Selection, sets: list[ImageSet], progress: Progress) -> SweepTable:
    """Run all arms on validation, choose the ratio there, and confirm it once on test; see `sweep.protocol`."""
    sets, left_out = complete_sets(sets, study.experiment)
    for class_name, source in left_out:
        progress.info(f"{class_name}: not all its learnings have images of source {source}; the sweep leaves it out")
    draws = study.training_draws([s.class_name for s in selection.selected])
    curation = curate(study, sets, draws, progress)
    sets = [one for one in sets if (one.class_name, one.source) not in (curation.left_out if curation else ())]
    question, pools = _question(study, selection, sets), read_pools(study, sets, curation)
    changed = state_intent(study.run, _plan(study, question, pools))
    if changed:
        progress.info(f"the plan differs from the one that was written down before: {', '.join(changed)}")
    trainer = _Trainer(study=study, pools=pools, draws=draws, progress=progress, kept=kept_trials(study.run))
    table = run_sweep(question, lambda split: class_ids(study, split), trainer.train)
    study.run.save(layout.SWEEP_TABLE, table, key_of(table))
    used = {trial.split for trial in trainer.used}
    true_ids = {split: class_ids(study, split) for split in SPLITS if split in used}
    write_predictions(study.run, question, true_ids, trainer.used, trainer.keys)
    arms = Table("arm of this sweep", table.arms)
    costs = SweepCosts(arms=arm_costs(table.rows, arms, sets, _clocks(study)))
    study.run.save(layout.SWEEP_COSTS, costs, key_of(costs))
    return table


def complete_sets(sets: Sequence[ImageSet], experiment: Experiment) -> tuple[list[ImageSet], list[tuple[str, str]]]:
    """The sets that the sweep can train with, and those (class, source) of which it lacks a learning.

    A repetition in which a class had no images would compare other classes than the rest of them.
    """
    found = Counter((images.class_name, images.source) for images in sets)
    lacking = [
        (class_name, source)
        for (class_name, source), num in found.items()
        if num < len(experiment.learnings_of(source))
    ]
    return [images for images in sets if (images.class_name, images.source) not in lacking], lacking


def _question(study: Study, selection: Selection, sets: list[ImageSet]) -> SweepQuestion:
    names = study.dataset.class_names
    return SweepQuestion(
        config=study.experiment.sweep,
        class_names=names,
        weak_ids=[names.index(s.class_name) for s in selection.selected],
        num_train=np.bincount(class_ids(study, "train"), minlength=len(names)).tolist(),
        pools=Counter(s.source for s in sets if s.learning == 0),
        run_seed=study.experiment.seed,
        replication=study.experiment.replication,
    )


def _plan(study: Study, question: SweepQuestion, pools: list[WeightedPool]) -> SweepIntent:
    """The question's plan, with what identifies the data, the images and the classifier of this run."""
    return dataclasses.replace(
        intent(question),
        classifier=dataclasses.asdict(study.experiment.classifier),
        data_fingerprint=study.census.fingerprint,
        base_sha256=study.base_sha256,
        images_sha256=key_of([pool.key for pool in pools]),
        version=__version__,
    )


def _clocks(study: Study) -> Clocks:
    cluster, names = study.experiment.cluster, [t.name for t in techniques_for(study.experiment.sampling.sources)]
    found = {name: read_timing(study.run, study.experiment, f"personalize.{name}") for name in names}
    return Clocks(
        sample=read_timing(study.run, study.experiment, "sample"),
        techniques={name: timing for name, timing in found.items() if timing is not None},
        num_cpus=cluster.num_workers * cluster.num_cpus_per_worker,
        num_learnings=study.experiment.replication.num_learnings_in_all,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trainer:
    """Loads trials from the run directory and trains the missing ones."""

    study: Study
    pools: list[WeightedPool]
    draws: TrainingDraws
    progress: Progress
    kept: dict[str, tuple[str, Trial]] = field(default_factory=dict)
    """Keys and trials of a finished sweep, by their names."""
    used: list[Trial] = field(default_factory=list)
    """All trials that it has returned."""
    keys: dict[str, str] = field(default_factory=dict)
    """Of all trials that it was asked for, by their names."""

    def train(self, plans: list[TrialPlan]) -> tuple[list[Trial], list[str]]:
        """Return the trials of complete arms and one sentence per failure; all plans must be for the same split."""
        keyed = [TrialToRun(plan=plan, key=self._key(plan)) for plan in plans]
        self.keys.update({one.plan.name: one.key for one in keyed})
        found = self._found(keyed)
        missing = [one for one in keyed if found[one.plan] is None]
        failures: list[str] = []
        if any(plan.split == "test" for plan in plans):
            key, fingerprint = key_of(sorted(one.key for one in keyed)), self.study.census.fingerprint
            open_test(self.study.run, layout.TRIALS, key, fingerprint, is_made=not missing)
        if missing:
            self.progress.did_work()
            self.progress.info(f"{len(missing)} trials on {missing[0].plan.split}")
            connect(self.study.experiment.cluster)
            # of all plans, so that invalid ratios are rejected even if their trials are finished
            failures = train_trials(
                self.study, gather(self.study, self.pools, self.draws, plans, self.progress), missing, self.progress
            )
        trials = _complete(found | self._found(missing), failures)
        self.used.extend(trials)
        return trials, failures

    def _found(self, trials: list[TrialToRun]) -> dict[TrialPlan, Trial | None]:
        """Those that have a file: from the table of all trials, or from the file where the table has another key."""
        present = set(self.study.run.names(layout.TRIALS)) if trials else set()
        return {one.plan: self._load(one) if layout.trial(one.plan.name) in present else None for one in trials}

    def _load(self, one: TrialToRun) -> Trial | None:
        key, trial = self.kept.get(one.plan.name, ("", None))
        return trial if key == one.key else self.study.run.load(layout.trial(one.plan.name), Trial, one.key)

    def _key(self, plan: TrialPlan) -> str:
        """Hash of all inputs of the trial."""
        experiment, config, arm = self.study.experiment, self.study.experiment.sweep, plan.arm
        repetition = plan.repetition
        own = repetition.learning if arm.pool and SOURCES[arm.pool].is_per_learning else 0
        pools = [pool for pool in self.pools if (pool.images.source, pool.images.learning) == (arm.pool, own)]
        return key_of(
            arm.key_fields(),
            [plan.ratio, repetition.index, plan.split, plan.learning_rate_factor],
            [pool.key if arm.source else pool.images.class_name for pool in pools],
            self._mixed(plan),
            [self.draws.key, self.draws.rows[repetition.draw].tolist()] if self.draws.rows else [],
            config.refit_epochs,
            experiment.classifier,
            weights_sha256(classifier_backbone(self.study)),
            self.study.census.fingerprint,
            experiment.data.image_size_px,
            experiment.seed,
        )

    def _mixed(self, plan: TrialPlan) -> list[Any]:
        """What the mixture of an arm with images depends on."""
        config, num_parts = self.study.experiment.sweep, self.study.experiment.replication.num_pools
        if plan.arm.is_free:
            return []
        mixed: list[Any] = [config.synthetic_weight, config.synthetic_smoothing, plan.repetition.pool, num_parts]
        mixed += ["augmented"] if plan.arm.is_augmented else []
        return [*mixed, self.study.base_sha256] if plan.arm.round_trips != "none" else mixed


def _complete(trials: dict[TrialPlan, Trial | None], failures: list[str]) -> list[Trial]:
    """Gains are paired, so an arm that lacks a repetition is excluded entirely; the report lists its failures."""
    lacking = {(plan.arm.name, plan.ratio, plan.learning_rate_factor) for plan, trial in trials.items() if not trial}
    found = [trial for trial in trials.values() if trial is not None]
    complete = [t for t in found if (t.arm, t.ratio, t.learning_rate_factor) not in lacking]
    is_asked = any(plan.arm.name == BASELINE.name for plan in trials)
    if is_asked and not any(trial.arm == BASELINE.name for trial in complete):
        raise RuntimeError(f"the baseline of the sweep failed, nothing can be compared: {'; '.join(failures)}")
    return complete
