"""Trains classes, each or all together, with a technique, from training images to checkpoints, files and the record.

`Worker` is the plain class that the cluster wraps into an actor. This module does not know about Ray, which techniques
there are, or how the results are used.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from flowerti.artifacts import layout
from flowerti.artifacts.identity import label_of, of_learning, seed_for
from flowerti.artifacts.records import Learned, LossPoint
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.base_files import resolve_folder, verify_base
from flowerti.config.experiment import BaseConfig, ScheduleConfig
from flowerti.config.techniques import TECHNIQUES, with_needs
from flowerti.data.access import read_images
from flowerti.diffusion import Base, load_base
from flowerti.personalization import checkpoints
from flowerti.personalization.denoising import EncodedImages, prepare
from flowerti.personalization.encoding import token_of
from flowerti.personalization.first_use import LoadedBase
from flowerti.personalization.joint import put_together, with_all_tokens, with_each_token
from flowerti.personalization.prior import Priors
from flowerti.personalization.store import applied, save_learned
from flowerti.personalization.technique import Implementation, implementation_of
from flowerti.personalization.train_state import TrainState, state_from
from flowerti.personalization.trainer import ClassTraining, Procedure, learn_together

_PACKAGES = ("torch", "diffusers", "transformers")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassImages:
    """The training images of a class."""

    class_name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningTask:
    """The input of a worker for one learning of a class, or of all classes together."""

    technique: str
    class_name: str
    """`identity.ALL_CLASSES` where classes are learnt together."""
    addresses: tuple[str, ...] = ()
    """Training images of the one class."""
    together: tuple[ClassImages, ...] = ()
    """The classes that are learnt together, in their order; empty where it is one."""
    image_size_px: int
    run_seed: int
    key: str
    """Identity of its inputs: config, base, images, learning and the techniques that it depends on."""
    learning: int = 0
    """Which of the class's learnings."""

    @property
    def images(self) -> tuple[ClassImages, ...]:
        """The training images by class."""
        return self.together or (ClassImages(class_name=self.class_name, addresses=self.addresses),)

    @property
    def num_images(self) -> int:
        """Training images of all its classes."""
        return sum(len(one.addresses) for one in self.images)

    @property
    def subject(self) -> tuple[str, int]:
        """Class and learning, which tell it from all other tasks of its technique."""
        return self.class_name, self.learning

    @property
    def label(self) -> str:
        """Class and learning in messages."""
        return label_of(self.class_name, self.learning)

    @property
    def checkpoint_file(self) -> str:
        """Path of its last checkpoint."""
        return layout.checkpoint(self.class_name, self.technique, self.learning)

    def failed(self, reason: str) -> Learned:
        """The record of this learning if it failed."""
        return Learned(
            class_name=self.class_name,
            technique=self.technique,
            learning=self.learning,
            classes=[one.class_name for one in self.together],
            error=reason,
        )


def last_point(run: RunDirectory, task: LearningTask) -> LossPoint | None:
    """Step and latest evaluation loss of a class's last checkpoint; None if there is no checkpoint."""
    return checkpoints.last_point_in(run, task.checkpoint_file, task.key)


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The base that a worker loads, and the run directory that it writes to."""

    base: BaseConfig
    base_sha256: str
    run: RunDirectory


class Worker:
    """Trains classes with one technique on one loaded base, sequentially or several in one batch."""

    def __init__(self, technique: str, config: ScheduleConfig, origin: Origin, num_threads: int, device: str) -> None:
        """Load the base once; `device` is "cpu" or "cuda"."""
        torch.set_num_threads(num_threads)
        self._technique, self._config = TECHNIQUES[technique], config
        self._origin, self._run = origin, origin.run
        self._code: Implementation[Any] = implementation_of(self._technique)
        base = origin.base
        can_compile = all(implementation_of(used).can_compile for used in with_needs(technique))
        self._loaded = LoadedBase(
            lambda: load_base(
                resolve_folder(base) or verify_base(base),
                base.dtype,
                device,
                channels_last=base.channels_last,
                compile_unet=base.compile and can_compile,
            )
        )
        self._priors = Priors(config=self._code.prior(config))

    @property
    def _base(self) -> Base:
        return self._loaded.base

    def learn(self, task: LearningTask) -> Learned:
        """Train one class, resuming from its last checkpoint if there is one, and store the result.

        Raises:
            ValueError: the class failed; says why.
        """
        (learned,) = self.learn_together([task])
        if learned.error:
            raise ValueError(learned.error)
        return learned

    def learn_together(self, tasks: list[LearningTask]) -> list[Learned]:
        """Train several classes, in one batch if the technique supports it; returns records in the order of the tasks.

        Each class is stored as soon as it finishes. A class that cannot be prepared or whose loss is not finite is
        returned with its error and not stored.

        Raises:
            UnusableBaseError: the base could not be loaded, or is not finite: no class can be learnt.
        """
        self._loaded.require()  # before the errors of single classes are caught
        if self._technique.shares_batches:
            return self._learn_batch(tasks)
        return [learned for task in tasks for learned in self._learn_batch([task])]

    def _learn_batch(self, tasks: list[LearningTask]) -> list[Learned]:
        """Train classes in one batch; a technique that depends on another one has a single class per batch."""
        with ExitStack() as stack:
            try:
                first = tasks[0]
                prior = self._prior_of(first)  # before anything is applied to the networks
                base = stack.enter_context(self._with_needed(first))
            except (OSError, ValueError) as error:
                return [task.failed(str(error)) for task in tasks]
            return self._learn_on(base, tasks, prior)

    def _with_needed(self, task: LearningTask) -> AbstractContextManager[Base]:
        if self._technique.is_joint:
            return nullcontext(with_all_tokens(self._with_each_token(task)))
        return applied(self._base, self._run, task.class_name, self._technique.needs, task.learning)

    def _with_each_token(self, task: LearningTask) -> list[Base]:
        names = [one.class_name for one in task.images]
        return with_each_token(self._base, self._run, names, self._technique.needs, task.learning)

    def _prior_of(self, task: LearningTask) -> EncodedImages | None:
        prior = self._priors.config
        if prior is not None:
            for one in task.images:
                prior.check_class(one.class_name, f"{self._config.section}.prior")
        return self._priors.of(self._base, task.run_seed, task.learning, task.image_size_px)

    def _learn_on(self, base: Base, tasks: list[LearningTask], prior: EncodedImages | None) -> list[Learned]:
        began = time.monotonic()
        by_subject = {task.subject: task for task in tasks}
        outcomes: dict[tuple[str, int], Learned] = {}
        trainings: list[ClassTraining] = []
        for task in tasks:
            try:
                trainings.append(self._prepare(base, task, prior))
            except (OSError, ValueError) as error:
                outcomes[task.subject] = task.failed(str(error))
        for training in self._train(base, trainings, by_subject):
            task = by_subject[training.class_name, training.learning]
            if training.error:
                outcomes[task.subject] = task.failed(training.error)
            else:
                outcomes[task.subject] = self._store(base, task, training.state, time.monotonic() - began)
        return [outcomes[task.subject] for task in tasks]

    def _prepare(self, base: Base, task: LearningTask, prior: EncodedImages | None) -> ClassTraining:
        data = self._priors.added_to(self._encoded(base, task), prior)
        state = checkpoints.load_from(self._run, task.checkpoint_file, task.key, str(base.device))
        if state is None:
            learnt = self._code.start(base, data, self._config, task.class_name, self._seed(task, "start"))
            state = state_from(learnt, keeps_start=self._code.after_step(base, self._config) is not None)
        return ClassTraining(
            class_name=task.class_name, run_seed=task.run_seed, data=data, state=state, learning=task.learning
        )

    def _encoded(self, base: Base, task: LearningTask) -> EncodedImages:
        if not self._technique.is_joint:
            return _prepared(base, task.images[0], task.image_size_px, *self._noun(base, task))
        with_tokens = self._with_each_token(task)
        of_classes = [
            _prepared(one, images, task.image_size_px, *self._noun(one, task))
            for one, images in zip(with_tokens, task.images, strict=True)
        ]
        return put_together(with_tokens, of_classes)

    def _seed(self, task: LearningTask, purpose: str) -> int:
        name = f"{of_learning(self._technique.seeds, task.learning)}/{purpose}"
        return seed_for(task.run_seed, task.class_name, name, 0)

    def _noun(self, base: Base, task: LearningTask) -> tuple[str, int]:
        """Noun in the captions: the token being trained, else that of the required technique, else the class name."""
        num_vectors = self._code.num_vectors(self._config)
        if num_vectors:
            return token_of(task.class_name), num_vectors
        if base.token_rows is not None:
            return base.token, len(base.token_rows)
        return task.class_name, 0

    def _train(
        self, base: Base, trainings: list[ClassTraining], by_subject: dict[tuple[str, int], LearningTask]
    ) -> Iterator[ClassTraining]:
        if not trainings:
            return
        procedure = Procedure(
            base=base,
            config=self._config,
            losses=self._code.losses(base, [training.data for training in trainings]),
            seed_name=self._technique.seeds,
            after_step=self._code.after_step(base, self._config),
        )
        yield from learn_together(
            procedure,
            trainings,
            lambda training: self._save_checkpoint(by_subject[training.class_name, training.learning], training.state),
        )

    def _store(self, base: Base, task: LearningTask, state: TrainState, seconds: float) -> Learned:
        noun, num_vectors = self._noun(base, task)
        files = self._code.export(base, state.best, task.class_name)
        learned = Learned(
            class_name=task.class_name,
            technique=task.technique,
            learning=task.learning,
            token=noun if num_vectors else "",
            num_vectors=self._code.num_vectors(self._config),
            num_parameters=state.best.numel(),
            base=self._origin.base.path,
            base_sha256=self._origin.base_sha256,
            num_images=task.num_images,
            num_steps=state.step,
            best_step=state.best_point.step,
            seed=self._seed(task, "step"),
            loss_curve=state.curve,
            neighbours=self._code.neighbours(base, state.best),
            details=self._code.details(self._config) | {"bytes": sum(len(content) for content in files.values())},
            versions={name: version(name) for name in _PACKAGES},
            seconds=seconds,
            classes=[one.class_name for one in task.together],
        )
        stored = save_learned(self._run, learned, files, task.key)
        self._run.delete(task.checkpoint_file)
        return stored

    def _save_checkpoint(self, task: LearningTask, state: TrainState) -> None:
        self._run.write_checked(task.checkpoint_file, checkpoints.to_bytes(state, task.key))


def _prepared(base: Base, of_class: ClassImages, image_size_px: int, noun: str, num_vectors: int) -> EncodedImages:
    if not of_class.addresses:
        raise ValueError(f"class {of_class.class_name!r} has no training image: it cannot be learnt")
    images = torch.from_numpy(read_images(list(of_class.addresses), image_size_px))
    return prepare(base, images, noun, num_vectors)
