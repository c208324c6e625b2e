"""Fan out inversion: one actor for each selected class, as many at once as there are workers.

A class that fails is recorded with its reason and never takes the others down; a class whose worker or node was lost
starts again from its last checkpoint. What the actor does is `concepts.Inverter`; this module knows only how to run it.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from flowerti.artifacts import Concept, Selection
from flowerti.cluster.session import connect, device_of
from flowerti.concepts import (
    InversionTask,
    Inverter,
    concept_folder,
    concept_key,
    last_checkpoint,
    load_concept,
    token_of,
)
from flowerti.data import read_bytes
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
    """A window of actors over a queue of classes."""

    def __init__(self, study: Study, say: Callable[[str], None]) -> None:
        self._study, self._say = study, say
        self._cluster = study.experiment.cluster
        self._attempts: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._running: dict[ray.ObjectRef, tuple[InversionTask, Any]] = {}

    def run(self, tasks: list[InversionTask]) -> dict[str, Concept]:
        """Run all tasks to an outcome each, and leave no actor behind."""
        waiting, outcomes = deque(tasks), {}
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._cluster.num_workers:
                    self._start(waiting.popleft())
                finished, _ = ray.wait(list(self._running), num_returns=1, timeout=_TELL_EVERY_S)
                if not finished:
                    self._tell_progress()
                    continue
                task, concept = self._collect(finished[0])
                if concept is None:
                    waiting.append(task)
                else:
                    outcomes[task.class_name] = concept
        finally:
            for _, actor in self._running.values():
                ray.kill(actor)
        return outcomes

    def _tell_progress(self) -> None:
        """Say how far each running class is, as its last checkpoint in the run directory has it."""
        num_steps = self._study.experiment.inversion.num_steps
        for task, _ in self._running.values():
            point = last_checkpoint(self._study.run, task)
            if point is not None and point.step != self._told.get(task.class_name):
                self._told[task.class_name] = point.step
                self._say(f"{task.class_name}: step {point.step} of {num_steps}, evaluation loss {point.loss:.4f}")

    def _start(self, task: InversionTask) -> None:
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
        self._attempts[task.class_name] = self._attempts.get(task.class_name, 0) + 1
        self._running[actor.learn.remote(task)] = (task, actor)

    def _collect(self, reference: ray.ObjectRef) -> tuple[InversionTask, Concept | None]:
        task, actor = self._running.pop(reference)
        try:
            concept: Concept = ray.get(reference)
            self._say(f"{task.class_name}: learnt in {concept.num_steps} steps, best at {concept.best_step}")
            return task, concept
        except RayTaskError as error:
            return task, self._fail(task, str(error.cause))
        except RayActorError as error:
            if self._attempts[task.class_name] <= self._cluster.max_retries_per_class:
                self._say(f"{task.class_name}: its worker was lost, going on from the last checkpoint")
                return task, None
            return task, self._fail(task, f"its worker was lost {self._attempts[task.class_name]} times: {error}")
        finally:
            ray.kill(actor)

    def _fail(self, task: InversionTask, reason: str) -> Concept:
        self._say(f"{task.class_name}: failed: {reason}")
        concept = Concept(class_name=task.class_name, token=token_of(task.class_name), error=reason)
        self._study.run.save(f"{concept_folder(task.class_name)}/concept.json", concept, task.key)
        return concept
