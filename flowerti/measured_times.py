"""The times of single steps, from what a finished run left behind.

This module needs neither torch nor Ray.
"""

from flowerti.artifacts import layout
from flowerti.artifacts.identity import subject_of
from flowerti.artifacts.records import Learned, Selection, Timing
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import find_config
from flowerti.config.techniques import Technique, techniques_for
from flowerti.plan import StepTimes, num_trials


def measured_times(run: RunDirectory, actor_start_s: float) -> StepTimes:
    """Step times of a run that is over, on the workers that it had.

    Raises:
        ValueError: the run lacks a stage, or its last work on a stage was only a part of it; says which.
    """
    experiment = find_config(run)
    if experiment is None:
        raise ValueError(f"--from-run: {run.uri}/{layout.CONFIG} is missing: no run was started in this directory")
    sampling, num_workers = experiment.sampling, experiment.cluster.num_workers
    techniques = techniques_for(sampling.sources)
    num_learnings = experiment.replication.num_learnings_in_all
    learned = {technique.name: _learned(run, technique, num_learnings) for technique in techniques}
    num_classes = max((len({record.class_name for record in records}) for records in learned.values()), default=0)
    num_drawn = num_classes * experiment.num_sets_per_class * sampling.num_per_class
    # scored are the images of a class's first learning
    num_scored = num_classes * len(sampling.sources) * sampling.num_per_class
    spent = {stage: _seconds(run, stage) * num_workers for stage in ("sample", "score", "sweep")}
    return StepTimes(
        learning_step={
            name: sum(r.seconds for r in records) / sum(r.num_steps for r in records)
            for name, records in learned.items()
        },
        drawn_image=spent["sample"] / num_drawn,
        scored_image=spent["score"] / num_scored,
        trial=spent["sweep"] / num_trials(experiment, num_classes),
        actor_start=actor_start_s,
    )


def _learned(run: RunDirectory, technique: Technique, num_learnings: int) -> list[Learned]:
    """What a technique learnt, without what failed."""
    selection = run.load(layout.SELECTION, Selection) or Selection(selected=[], by_evidence=[])
    # each once: of a joint technique all classes have the same
    subjects = dict.fromkeys(subject_of(one.class_name, is_joint=technique.is_joint) for one in selection.selected)
    files = [layout.learned_record(name, technique.name, k) for name in subjects for k in range(num_learnings)]
    found = [record for file in files if (record := run.load(file, Learned)) and record.num_steps]
    if not found:
        raise ValueError(f"--from-run: {technique.name} learnt no class in {run.uri}: choose a finished run")
    return found


def _seconds(run: RunDirectory, stage: str) -> float:
    timing = run.load(layout.timing(stage), Timing)
    if timing is None:
        raise ValueError(f"--from-run: {run.uri} has no time of the stage {stage}: choose a finished run")
    return timing.seconds
