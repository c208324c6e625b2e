"""Fan out inversion: one actor for each group of selected classes, as many at once as there are workers.

A group is one class unless `cluster.classes_per_actor` says more. A class that fails is recorded with its reason and
never takes the others down; classes whose worker or node was lost start again from their last checkpoints. What the
actor does is `concepts.Inverter`; this module knows only how to run it.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from flowerti.artifacts.records import Concept, Selection
from flowerti.cluster.session import connect, device_of
from flowerti.data.dataset import read_bytes
from flowerti.inversion.concepts import (
    InversionTask,
    Inverter,
    concept_folder,
    concept_key,
    failed_concept,
    last_checkpoint,
    load_concept,
)
from flowerti.study import Study


def invert(study: Study, selection: Selection, say: Callable[[str], None]) -> list[Concept]:
    """Learn every selected class that has no finished concept yet; concepts in the order of the selection."""
    tasks = {task.class_name: task for task in (plan(study, s.class_name) for s in selection.selected)}
    done = {name: load_concept(study.run, name, task.key) for name, task in tasks.items()}
    missing = [task for name, task in tasks.items() if done[name] is None]
    if missing:
        connect(study.experiment.cluster)
        # longest first: the class with most pictures encodes longest, the steps are the same for all
        missing.sort(key=lambda task: -len(task.addresses))
        for task in missing:
            if len(task.addresses) == 1:
                say(f"{task.class_name}: one training picture alone, its token may copy it")
        done |= _FanOut(study, say).run(missing)
    return [concept for name in tasks if (concept := done[name]) is not None]


def plan(study: Study, class_name: str) -> InversionTask:
    """The task of one class; only training pictures enter it."""
    experiment = study.experiment
    addresses = [record.address for record in study.dataset.of("train", class_name)]
    digest = hashlib.sha256()
    for address in addresses:
        digest.update(hashlib.sha256(read_bytes(address)).digest())
    pictures = f"{digest.hexdigest()}/{class_name}/{experiment.data.image_size_px}"
    return InversionTask(
        class_name=class_name,
        addresses=tuple(addresses),
        image_size_px=experiment.data.image_size_px,
        run_seed=experiment.seed,
        key=concept_key(experiment.inversion, experiment.base, study.base_sha256, pictures, experiment.seed),
    )


_TELL_EVERY_S = 10.0


class _FanOut:
    """A window of actors over a queue of groups of classes."""

    def __init__(self, study: Study, say: Callable[[str], None]) -> None:
        self._study, self._say = study, say
        self._cluster = study.experiment.cluster
        self._attempts: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._running: dict[ray.ObjectRef, tuple[list[InversionTask], Any]] = {}

    def run(self, tasks: list[InversionTask]) -> dict[str, Concept]:
        """Run all tasks to an outcome each, and leave no actor behind."""
        size = self._cluster.classes_per_actor
        waiting = deque(tasks[begin : begin + size] for begin in range(0, len(tasks), size))
        outcomes: dict[str, Concept] = {}
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._cluster.num_workers:
                    self._start(waiting.popleft())
                finished, _ = ray.wait(list(self._running), num_returns=1, timeout=_TELL_EVERY_S)
                if not finished:
                    self._tell_progress()
                    continue
                concepts, again = self._collect(finished[0])
                outcomes |= {concept.class_name: concept for concept in concepts}
                waiting.extend(again)
        finally:
            for _, actor in self._running.values():
                ray.kill(actor)
        return outcomes

    def _tell_progress(self) -> None:
        """Say how far each running class is, as its last checkpoint in the run directory has it."""
        num_steps = self._study.experiment.inversion.num_steps
        for task in (task for group, _ in self._running.values() for task in group):
            point = last_checkpoint(self._study.run, task)
            if point is not None and point.step != self._told.get(task.class_name):
                self._told[task.class_name] = point.step
                self._say(f"{task.class_name}: step {point.step} of {num_steps}, evaluation loss {point.loss:.4f}")

    def _start(self, group: list[InversionTask]) -> None:
        experiment, cluster = self._study.experiment, self._cluster
        actor = (
            ray.remote(Inverter)
            .options(num_cpus=cluster.num_cpus_per_worker, num_gpus=cluster.num_gpus_per_worker)
            .remote(
                experiment.base,
                self._study.base_sha256,
                experiment.inversion,
                self._study.run,
                cluster.num_threads_per_worker,
                device_of(cluster),
            )
        )
        for task in group:
            self._attempts[task.class_name] = self._attempts.get(task.class_name, 0) + 1
        self._running[actor.learn_together.remote(group)] = (group, actor)

    def _collect(self, reference: ray.ObjectRef) -> tuple[list[Concept], list[list[InversionTask]]]:
        """The outcomes of a group's classes, and the groups that are to be tried again."""
        group, actor = self._running.pop(reference)
        try:
            concepts: list[Concept] = ray.get(reference)
            return [self._settle(task, concept) for task, concept in zip(group, concepts, strict=True)], []
        except RayTaskError as error:
            if len(group) > 1:
                # what broke the batch may be one class's fault: each goes on alone, from its last checkpoint
                return self._apart(group, str(error.cause))
            return [self._fail(group[0], str(error.cause))], []
        except RayActorError as error:
            return self._after_loss(group, error)
        finally:
            ray.kill(actor)

    def _settle(self, task: InversionTask, concept: Concept) -> Concept:
        if concept.error:
            return self._fail(task, concept.error)
        self._say(f"{task.class_name}: learnt in {concept.num_steps} steps, best at {concept.best_step}")
        return concept

    def _apart(self, group: list[InversionTask], reason: str) -> tuple[list[Concept], list[list[InversionTask]]]:
        names = ", ".join(task.class_name for task in group)
        self._say(f"the batch of {names} failed, each is tried alone: {reason}")
        finished = {task.class_name: load_concept(self._study.run, task.class_name, task.key) for task in group}
        again = [[task] for task in group if finished[task.class_name] is None]
        return [concept for concept in finished.values() if concept is not None], again

    def _after_loss(
        self, group: list[InversionTask], error: RayActorError
    ) -> tuple[list[Concept], list[list[InversionTask]]]:
        """Classes that ended before the worker was lost keep their concepts; the others go on together."""
        concepts, again = [], []
        for task in group:
            num_attempts = self._attempts[task.class_name]
            finished = load_concept(self._study.run, task.class_name, task.key)
            if finished is not None:
                concepts.append(self._settle(task, finished))
            elif num_attempts <= self._cluster.max_retries_per_class:
                self._say(f"{task.class_name}: its worker was lost, going on from the last checkpoint")
                again.append(task)
            else:
                concepts.append(self._fail(task, f"its worker was lost {num_attempts} times: {error}"))
        return concepts, [again] if again else []

    def _fail(self, task: InversionTask, reason: str) -> Concept:
        self._say(f"{task.class_name}: failed: {reason}")
        concept = failed_concept(task.class_name, reason)
        self._study.run.save(f"{concept_folder(task.class_name)}/concept.json", concept, task.key)
        return concept
