"""Trains classes in parallel: one group of classes on an actor at a time, with at most one actor per worker slot.

Each learning of a class is a task of its own, and a group may hold several of one class. An actor that finished its
group goes on with the next one: it takes ten seconds to start and to load a base, longer than a small class to learn. A
task that fails is recorded with the reason and does not affect the others. Tasks whose worker was lost, could not be
started or ran out of memory resume from their last checkpoints, up to a limited number of retries; the loss of a whole
node is not counted among them. This module does not know what is trained, or how: a `FanOutSpec` specifies that.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayError, RayTaskError

from flowerti.artifacts.records import Learned, LossPoint
from flowerti.base_files import UnusableBaseError
from flowerti.cluster.session import device_of
from flowerti.config.cluster import group_size
from flowerti.config.experiment import ClusterConfig
from flowerti.personalization.worker import LearningTask
from flowerti.progress import Progress

_REPORT_EVERY_S = 10.0
_MAX_NODES_LOST = 50
"""Nodes that a task may lose; a task that ends every node that it comes to must end, too."""
_NODE_DIED = "because its node has died"
"""In the message of an actor's error, which has no field for it unless the node was preempted with a warning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FanOutSpec:
    """How classes are trained, and how their results are read and written."""

    worker: type
    """A class whose method `learn_together(tasks)` returns one record per task."""
    arguments: tuple[Any, ...]
    """Constructor arguments of a worker; its number of threads and its device are appended."""
    group_size: int
    """Most tasks of an actor at a time."""
    load: Callable[[LearningTask], Learned | None]
    """Returns the record of a finished class, or None."""
    store_failure: Callable[[LearningTask, str], Learned]
    """Writes and returns the record of a class that failed."""
    last_point: Callable[[LearningTask], LossPoint | None]
    """Returns step and loss of a class's last checkpoint, or None."""


class FanOut:
    """Runs a queue of groups of classes on a limited number of actors."""

    def __init__(self, cluster: ClusterConfig, spec: FanOutSpec, progress: Progress) -> None:
        """Store the arguments; actors are started by `run`."""
        self._cluster, self._spec, self._progress = cluster, spec, progress
        self._attempts: dict[tuple[str, int], int] = {}
        """How often each task was started, without the starts that ended with their node."""
        self._nodes_lost: dict[tuple[str, int], int] = {}
        self._halved: set[tuple[str, int]] = set()
        """Tasks whose group was halved for want of memory."""
        self._reported_steps: dict[tuple[str, int], int] = {}
        self._running: dict[ray.ObjectRef, tuple[list[LearningTask], Any]] = {}
        self._idle: list[Any] = []
        """Actors whose last group is done."""

    def run(self, tasks: list[LearningTask]) -> dict[tuple[str, int], Learned]:
        """Run all tasks until each has a record, by class and learning, and terminate all actors.

        Raises:
            ValueError: a worker cannot use the base, so that no task can be done; says why.
        """
        size = group_size(self._spec.group_size, len(tasks), self._cluster.num_workers)
        waiting = deque(tasks[begin : begin + size] for begin in range(0, len(tasks), size))
        outcomes: dict[tuple[str, int], Learned] = {}
        unit = "learnings" if any(task.learning for task in tasks) else "classes"
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._cluster.num_workers:
                    self._start(waiting.popleft())
                self._end_idle()
                finished, _ = ray.wait(list(self._running), num_returns=1, timeout=_REPORT_EVERY_S)
                if not finished:
                    self._report_losses()
                    continue
                records, again = self._collect(finished[0])
                outcomes |= {(record.class_name, record.learning): record for record in records}
                waiting.extend(again)
                if records:
                    self._progress.advance(len(outcomes), len(tasks), unit)
        finally:
            for actor in [*self._idle, *(actor for _, actor in self._running.values())]:
                ray.kill(actor)
        return outcomes

    def _report_losses(self) -> None:
        """Report the progress of each running task, read from its last checkpoint in the run directory."""
        for task in (task for group, _ in self._running.values() for task in group):
            point = self._spec.last_point(task)
            if point is not None and point.step != self._reported_steps.get(task.subject):
                self._reported_steps[task.subject] = point.step
                self._progress.metric(f"{task.label}/evaluation_loss", point.step, point.loss)

    def _start(self, group: list[LearningTask]) -> None:
        actor = self._idle.pop() if self._idle else self._new_actor()
        for task in group:
            self._attempts[task.subject] = self._attempts.get(task.subject, 0) + 1
        self._running[actor.learn_together.remote(group)] = (group, actor)

    def _new_actor(self) -> Any:
        cluster = self._cluster
        return (
            ray.remote(self._spec.worker)
            .options(num_cpus=cluster.num_cpus_per_worker, num_gpus=cluster.num_gpus_per_worker)
            .remote(*self._spec.arguments, cluster.num_threads_per_worker, device_of(cluster))
        )

    def _end_idle(self) -> None:
        """End the actors that no group waits for, so that their CPUs and GPUs are free."""
        while self._idle:
            ray.kill(self._idle.pop())

    def _collect(self, reference: ray.ObjectRef) -> tuple[list[Learned], list[list[LearningTask]]]:
        """The records of a group's classes, and the groups to retry; raises where no other worker could do better."""
        group, actor = self._running.pop(reference)
        try:
            records: list[Learned] = ray.get(reference)
        except RayError as error:
            ray.kill(actor)  # an error may have left it half way
            if isinstance(error, RayTaskError) and isinstance(error.cause, UnusableBaseError):
                raise ValueError(str(error.cause)) from error
            return self._after_error(group, error)
        self._idle.append(actor)
        return [self._settle(task, record) for task, record in zip(group, records, strict=True)], []

    def _after_error(
        self, group: list[LearningTask], error: RayError
    ) -> tuple[list[Learned], list[list[LearningTask]]]:
        if not isinstance(error, RayTaskError):
            return self._after_loss(group, error)
        if len(group) > 1:
            # a single task may have caused the failure: retry each one alone, from its last checkpoint
            return self._apart(group, str(error.cause))
        return [self._fail(group[0], str(error.cause))], []

    def _settle(self, task: LearningTask, record: Learned) -> Learned:
        if record.error:
            return self._fail(task, record.error)
        self._progress.info(f"{task.label}: learnt in {record.num_steps} steps, best at {record.best_step}")
        return record

    def _apart(self, group: list[LearningTask], reason: str) -> tuple[list[Learned], list[list[LearningTask]]]:
        names = ", ".join(task.label for task in group)
        self._progress.info(f"the batch of {names} failed, each is tried alone: {reason}")
        finished = [(task, self._spec.load(task)) for task in group]
        again = [[task] for task, record in finished if record is None]
        return [record for _, record in finished if record is not None], again

    def _after_loss(self, group: list[LearningTask], error: RayError) -> tuple[list[Learned], list[list[LearningTask]]]:
        """Keep the records of classes that finished before the worker was lost; retry the others together."""
        records, again = [], []
        for task in group:
            finished = self._spec.load(task)
            if finished is not None:
                records.append(self._settle(task, finished))
            elif self._may_retry(task, error):
                self._progress.info(f"{task.label}: {_lost(error)}, going on from the last checkpoint")
                again.append(task)
            else:
                records.append(self._fail(task, f"{_lost(error)} {self._times(task, error)} times: {error}"))
        return records, self._regrouped(again, error)

    def _may_retry(self, task: LearningTask, error: RayError) -> bool:
        if not _is_node_lost(error):
            return self._attempts[task.subject] <= self._cluster.max_retries_per_class
        self._attempts[task.subject] -= 1
        self._nodes_lost[task.subject] = self._nodes_lost.get(task.subject, 0) + 1
        return self._nodes_lost[task.subject] <= _MAX_NODES_LOST

    def _times(self, task: LearningTask, error: RayError) -> int:
        return (self._nodes_lost if _is_node_lost(error) else self._attempts)[task.subject]

    def _regrouped(self, again: list[LearningTask], error: RayError) -> list[list[LearningTask]]:
        """The group to retry, once in two halves where its worker ran out of memory."""
        if isinstance(error, OutOfMemoryError) and len(again) > 1:
            subjects = {task.subject for task in again}
            if not subjects & self._halved:
                self._halved |= subjects
                middle = (len(again) + 1) // 2
                return [again[:middle], again[middle:]]
        return [again] if again else []

    def _fail(self, task: LearningTask, reason: str) -> Learned:
        self._progress.info(f"{task.label}: failed: {reason}")
        return self._spec.store_failure(task, reason)


def _is_node_lost(error: RayError) -> bool:
    """Whether the worker went with its node: a preemption, or a machine that died."""
    if isinstance(error, RayActorError):
        return error.preempted or _NODE_DIED in str(error)
    return isinstance(error, NodeDiedError)


def _lost(error: RayError) -> str:
    if _is_node_lost(error):
        return "its node was lost"
    if isinstance(error, OutOfMemoryError):
        return "its worker was ended for want of memory"
    # those that never started have another kind of error, which says why
    return "its worker was lost" if isinstance(error, RayActorError) else f"its worker failed ({type(error).__name__})"
