"""What a run would cost before it is started: hours, storage and money of each stage, from the times of single steps.

Step times are given, or taken from a finished run. Workers are scheduled as the stages do it: each starts once in a
stage, the longest task comes first, the next one when one ends. It starts nothing and needs neither torch nor Ray.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from flowerti.config.cluster import group_size
from flowerti.config.experiment import Experiment
from flowerti.config.techniques import Technique, techniques_for
from flowerti.scoring.metric_table import METRICS
from flowerti.sweep.rounds import count_trials, planned_arms

_SECONDS_PER_HOUR = 3600.0
_PNG_BYTES_PER_VALUE = 0.6
"""A photograph as PNG takes about this share of its raw 8-bit values."""
_FEATURE_BYTES = 4 * 2048
"""float32 features of one view of an image, at the widest of the usual networks."""
_BYTES_PER_GB = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """Seconds that one worker takes; 0, or no entry, where it is not known."""

    learning_step: dict[str, float] = field(default_factory=dict)
    """One optimiser step of one class, evaluations and checkpoints included, by technique."""
    drawn_image: float = 0.0
    """One synthetic image with all its denoising steps."""
    scored_image: float = 0.0
    """One synthetic image in all comparisons of a scoring pass."""
    trial: float = 0.0
    """One training of the classifier in the sweep."""
    actor_start: float = 15.0
    """From asking for an actor until its networks are loaded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is to be planned."""

    experiment: Experiment
    num_classes: int
    """Weak classes."""
    num_workers: int
    """Workers at once, each on a GPU or a share of one."""
    price_per_hour: float = 0.0
    """Of one worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePlan:
    """What a stage, or a part of one that is timed on its own, would cost."""

    stage: str
    what: str
    """What it works on, in words."""
    num_tasks: int
    """Groups of classes to learn, shards, passes of scoring over a set, trials; 0 for a stage that the number of weak
    classes does not change: its cost is not estimated."""
    worker_hours: float = 0.0
    """Hours that workers are held, idle ones at the end included."""
    wall_hours: float = 0.0
    busy: float = 1.0
    """Share of the held time in which work is done, in [0, 1]; starts count as idle."""
    storage_gb: float = 0.0
    cost: float = 0.0
    """In the currency of the price."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How workers were used."""

    makespan_s: float
    busy: float
    """Seconds of work over workers times makespan, in [0, 1]."""


def schedule(task_s: Sequence[float], num_workers: int, start_s: float) -> Schedule:
    """Longest first: each worker starts once, and whichever is free takes the next task.

    Graham's LPT rule (SIAM J. Appl. Math. 17, 1969): its makespan is at most 4/3 - 1/(3 num_workers) of the best.
    """
    if not task_s:
        return Schedule(0.0, 1.0)
    free_at = [start_s] * min(num_workers, len(task_s))
    for seconds in sorted(task_s, reverse=True):
        heapq.heappush(free_at, heapq.heappop(free_at) + seconds)
    makespan = max(free_at)
    return Schedule(makespan, sum(task_s) / (num_workers * makespan) if makespan else 1.0)


def estimate(asked: Request, times: StepTimes) -> list[StagePlan]:
    """A row for each stage and technique that the run would do, in their order.

    Raises:
        ValueError: a number is out of range, or a time is not known; names it.
    """
    if asked.num_classes < 1 or asked.num_workers < 1 or asked.price_per_hour < 0:
        raise ValueError("--num-classes and --num-gpus must be at least 1, --price-per-gpu-hour at least 0")
    techniques = techniques_for(asked.experiment.sampling.sources)
    missing = [f"{t.name}-step" for t in techniques if times.learning_step.get(t.name, 0.0) <= 0]
    missing += [name for name in ("drawn_image", "scored_image", "trial", "actor_start") if getattr(times, name) <= 0]
    if missing:
        names = ", ".join(f"--seconds-per-{name.replace('_', '-')}" for name in missing)
        raise ValueError(f"no time is known for {names}: give it, or take all from a finished run with --from-run DIR")
    return [_planned(work, asked, times) for work in _work(asked, times, techniques)]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """What a stage has to do."""

    stage: str
    what: str
    task_s: list[float] = field(default_factory=list)
    storage_gb: float = 0.0


def _work(asked: Request, times: StepTimes, techniques: list[Technique]) -> Iterator[_Work]:
    experiment, sampling = asked.experiment, asked.experiment.sampling
    num_sets = asked.num_classes * experiment.num_sets_per_class
    # scored are the images of a class's first learning
    num_scored = asked.num_classes * len(sampling.sources)
    yield _Work(stage="classify", what=f"{experiment.data.kind} data, {experiment.classifier.backbone}")
    yield _Work(stage="select", what=f"rule {experiment.selection.rule}")
    if experiment.has_rehearsal:
        yield _Work(stage="ceiling", what=f"{experiment.ceiling.num_classes} rehearsal classes")
    for technique in techniques:
        yield _learning(asked, technique, times.learning_step[technique.name])
    shards = [
        min(sampling.batch_size, sampling.num_per_class - begin)
        for begin in range(0, sampling.num_per_class, sampling.batch_size)
    ]
    yield _Work(
        stage="sample",
        what=", ".join(sampling.sources),
        task_s=[count * times.drawn_image for count in shards] * num_sets,
        storage_gb=num_sets
        * sampling.num_per_class
        * experiment.data.image_size_px**2
        * 3
        * _PNG_BYTES_PER_VALUE
        / _BYTES_PER_GB,
    )
    scored_s = [sampling.num_per_class * times.scored_image] * num_scored
    feature_bytes = _FEATURE_BYTES * len(experiment.scoring.extractors)
    feature_gb = num_scored * sampling.num_per_class * feature_bytes / _BYTES_PER_GB
    yield _Work(stage="score", what=", ".join(METRICS.names), task_s=scored_s, storage_gb=feature_gb)
    arms = ", ".join(planned_arms(experiment.sweep, _pools(experiment, asked.num_classes)))
    yield _Work(stage="sweep", what=arms, task_s=[times.trial] * num_trials(experiment, asked.num_classes))
    yield _Work(stage="confirm", what="the scores once more, on test", task_s=scored_s)
    yield _Work(stage="report", what="summary.json, report.html, figures")


def num_trials(experiment: Experiment, num_classes: int = 2) -> int:
    """Trainings of the sweep: all arms on validation, and once more on test, in every repetition.

    It is the most that there can be: images of every source for every class, and a control that is better than real
    images alone, so that the judged source is put on top of it.

    Args:
        experiment: arms, ratios, repetitions and sources.
        num_classes: weak classes; a negative control needs two.
    """
    return count_trials(experiment.sweep, experiment.replication, _pools(experiment, num_classes))


def _pools(experiment: Experiment, num_classes: int) -> dict[str, int]:
    """Weak classes that have images, by source: all of them, since only a run can tell otherwise."""
    return dict.fromkeys(experiment.sampling.sources, num_classes)


def _learning(asked: Request, technique: Technique, step_s: float) -> _Work:
    num_results = 1 if technique.is_joint else asked.num_classes
    num_learnings = num_results * asked.experiment.replication.num_learnings_in_all
    most = asked.experiment.cluster.classes_per_actor if technique.shares_batches else 1
    size = group_size(most, num_learnings, asked.num_workers)
    groups = [min(size, num_learnings - begin) for begin in range(0, num_learnings, size)]
    class_s = asked.experiment.techniques[technique.name].num_steps * step_s
    return _Work(
        stage=f"personalize.{technique.name}",
        what=technique.label,
        task_s=[count * class_s for count in groups],
    )


def _planned(work: _Work, asked: Request, times: StepTimes) -> StagePlan:
    if not work.task_s:
        return StagePlan(stage=work.stage, what=work.what, num_tasks=0)
    found = schedule(work.task_s, asked.num_workers, times.actor_start)
    hours = found.makespan_s * asked.num_workers / _SECONDS_PER_HOUR
    return StagePlan(
        stage=work.stage,
        what=work.what,
        num_tasks=len(work.task_s),
        worker_hours=hours,
        wall_hours=found.makespan_s / _SECONDS_PER_HOUR,
        busy=found.busy,
        storage_gb=work.storage_gb,
        cost=hours * asked.price_per_hour,
    )
