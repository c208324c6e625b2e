"""What a run would cost before it is started: hours, storage and money of each stage, from the times of single steps.

Step times are given, or taken from a finished run. Workers are scheduled as the stages do it: longest first, an actor
for each group of classes, the next group when one ends. It starts nothing and needs neither torch nor Ray.
"""

import dataclasses
import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from flowerti.artifacts.records import Concept, Timing
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import Experiment, from_json

_SECONDS_PER_HOUR = 3600.0
_PNG_BYTES_PER_VALUE = 0.6
"""A photograph as PNG takes about this share of its raw 8-bit values."""
_FEATURE_BYTES = 4 * 2048
"""float32 features of one view of an image, at the widest of the usual networks."""
_BYTES_PER_GB = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """Seconds that one worker takes; 0 where it is not known."""

    inversion_step: float = 0.0
    """One optimiser step of one class, evaluations and checkpoints included."""
    drawn_image: float = 0.0
    """One synthetic image with all its denoising steps."""
    scored_image: float = 0.0
    """One synthetic image in all comparisons of a scoring pass."""
    trial: float = 0.0
    """One training of the classifier in the sweep."""
    actor_start: float = 15.0
    """From asking for an actor until its networks are loaded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePlan:
    """What a stage would cost."""

    stage: str
    num_tasks: int
    """Actors of the inversion, shards, passes of scoring over a set, trials."""
    worker_hours: float
    """Hours that workers are held, idle ones at the end included."""
    wall_hours: float
    busy: float
    """Share of the held time in which work is done, in [0, 1]; starts count as idle."""
    storage_gb: float
    cost: float
    """In the currency of the price."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How workers were used."""

    makespan_s: float
    busy: float
    """Seconds of work over workers times makespan, in [0, 1]."""


def schedule(task_s: Sequence[float], num_workers: int, start_s: float) -> Schedule:
    """Longest first: whichever worker is free takes the next task, after a start of its own.

    Graham's LPT rule (SIAM J. Appl. Math. 17, 1969): its makespan is at most 4/3 - 1/(3 num_workers) of the best.
    """
    if not task_s:
        return Schedule(0.0, 1.0)
    free_at = [0.0] * min(num_workers, len(task_s))
    for seconds in sorted(task_s, reverse=True):
        heapq.heappush(free_at, heapq.heappop(free_at) + start_s + seconds)
    makespan = max(free_at)
    return Schedule(makespan, sum(task_s) / (num_workers * makespan) if makespan else 1.0)


def estimate(
    experiment: Experiment, num_classes: int, num_workers: int, times: StepTimes, price_per_hour: float = 0.0
) -> list[StagePlan]:
    """The stages whose cost grows with the number of weak classes.

    Args:
        experiment: steps, images, ratios and seeds.
        num_classes: weak classes.
        num_workers: workers at once, each on a GPU or a share of one.
        times: of single steps on such a worker.
        price_per_hour: of one worker.

    Raises:
        ValueError: a number is out of range, or a time is not known; names it.
    """
    if num_classes < 1 or num_workers < 1 or price_per_hour < 0:
        raise ValueError("--num-classes and --num-gpus must be at least 1, --price-per-gpu-hour at least 0")
    missing = [field.name for field in dataclasses.fields(times) if getattr(times, field.name) <= 0]
    if missing:
        names = ", ".join(f"--seconds-per-{name.replace('_', '-')}" for name in missing)
        raise ValueError(f"no time is known for {names}: give it, or take all from a finished run with --from-run DIR")
    return [
        _stage(name, tasks, gigabytes, num_workers, times.actor_start, price_per_hour, per_task)
        for name, tasks, gigabytes, per_task in _work(experiment, num_classes, num_workers, times)
    ]


_Work = tuple[str, list[float], float, bool]


def _work(experiment: Experiment, num_classes: int, num_workers: int, times: StepTimes) -> list[_Work]:
    """Name, seconds of every task, gigabytes, and whether each task starts an actor of its own."""
    sampling, size = experiment.sampling, experiment.cluster.classes_per_actor
    num_sets = num_classes * len(sampling.sources)
    num_images = num_sets * sampling.num_per_class
    image_bytes = experiment.data.image_size_px**2 * 3 * _PNG_BYTES_PER_VALUE
    class_s = experiment.techniques["textual_inversion"].num_steps * times.inversion_step
    groups = [min(size, num_classes - begin) for begin in range(0, num_classes, size)]
    shards = [
        min(sampling.batch_size, sampling.num_per_class - b)
        for b in range(0, sampling.num_per_class, sampling.batch_size)
    ]
    return [
        ("invert", [count * class_s for count in groups], 0.0, True),
        (
            "sample",
            [count * times.drawn_image for count in shards] * num_sets,
            num_images * image_bytes / _BYTES_PER_GB,
            False,
        ),
        (
            "score",
            # once against validation and once against test images
            [sampling.num_per_class * times.scored_image] * num_sets * 2,
            num_images * _FEATURE_BYTES * len(experiment.scoring.extractors) / _BYTES_PER_GB,
            False,
        ),
        ("sweep", [times.trial] * num_trials(experiment, num_classes), 0.0, False),
    ]


def num_trials(experiment: Experiment, num_classes: int = 2) -> int:
    """Trainings of the sweep: all arms on validation, and each once more on test, for every seed.

    It is the most that there can be: images of every source for every class, and a control that is better than real
    images alone, so that the judged source is put on top of it.

    Args:
        experiment: arms, ratios, seeds and sources.
        num_classes: weak classes; a negative control needs two.
    """
    from flowerti.sweep.rounds import count_trials

    return count_trials(experiment.sweep, dict.fromkeys(experiment.sampling.sources, num_classes))


def _stage(
    name: str,
    task_s: list[float],
    gigabytes: float,
    num_workers: int,
    start_s: float,
    price_per_hour: float,
    starts_each_task: bool,
) -> StagePlan:
    planned = schedule(task_s, num_workers, start_s if starts_each_task else 0.0)
    makespan = planned.makespan_s + (0.0 if starts_each_task else start_s)
    hours = makespan * num_workers / _SECONDS_PER_HOUR
    return StagePlan(
        stage=name,
        num_tasks=len(task_s),
        worker_hours=hours,
        wall_hours=makespan / _SECONDS_PER_HOUR,
        busy=sum(task_s) / (num_workers * makespan),
        storage_gb=gigabytes,
        cost=hours * price_per_hour,
    )


def measured_times(run: RunDirectory, actor_start_s: float) -> StepTimes:
    """Step times of a run that is over, on the workers that it had.

    Raises:
        ValueError: the run lacks a stage, or its last work on a stage was only a part of it; says which.
    """
    if not run.exists("config.json"):
        raise ValueError(f"--from-run: {run.uri}/config.json is missing: no run was started in this directory")
    experiment = from_json(run.read_bytes("config.json").decode(errors="replace"), file_name=f"{run.uri}/config.json")
    names = [name for name in run.names("concepts") if name.endswith("/concept.json")]
    concepts = [concept for name in names if (concept := run.load(name, Concept)) and concept.num_steps]
    if not concepts:
        raise ValueError(f"--from-run: no class was learnt in {run.uri}: choose a finished run")
    num_workers, num_sets = experiment.cluster.num_workers, len(concepts) * len(experiment.sampling.sources)
    num_images = num_sets * experiment.sampling.num_per_class
    spent = {stage: _seconds(run, stage) * num_workers for stage in ("sample", "score", "sweep")}
    return StepTimes(
        inversion_step=sum(c.seconds for c in concepts) / sum(c.num_steps for c in concepts),
        drawn_image=spent["sample"] / num_images,
        scored_image=spent["score"] / num_images,
        trial=spent["sweep"] / num_trials(experiment),
        actor_start=actor_start_s,
    )


def _seconds(run: RunDirectory, stage: str) -> float:
    timing = run.load(f"timings/{stage}.json", Timing)
    if timing is None:
        raise ValueError(f"--from-run: {run.uri} has no time of the stage {stage}: choose a finished run")
    return timing.seconds
