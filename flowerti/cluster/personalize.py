"""Personalises the base for the selected classes: finds the classes that each technique still has to train.

Techniques run in sequence, each after the technique it depends on; a class for which that one failed is skipped. The
code of an actor is `personalization.worker.Worker`; `fan_out` schedules the actors.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from flowerti.artifacts.records import Learned, Selection
from flowerti.cluster.fan_out import FanOut, FanOutSpec
from flowerti.cluster.session import connect
from flowerti.config.techniques import Technique, techniques_for, with_needs
from flowerti.data.census import digest_of_class
from flowerti.personalization.store import Material, key_for, load_learned, store_failure
from flowerti.personalization.worker import LearningTask, Origin, Worker, last_point
from flowerti.progress import Progress
from flowerti.study import Study

ProgressFor = Callable[[str], AbstractContextManager[Progress]]
"""Context manager that provides the progress of one technique, given its name; each technique is timed separately."""


def personalize(study: Study, selection: Selection, progress_for: ProgressFor) -> list[Learned]:
    """Train all techniques that the experiment's sources require, for every selected class without a finished record.

    Returns:
        Records of all classes, including failed ones, by technique, each in the order of the selection.
    """
    learned: list[Learned] = []
    for technique in techniques_for(study.experiment.sampling.sources):
        with progress_for(technique.name) as progress:
            learned += _learn_all(study, technique, selection, learned, progress)
    return learned


def _learn_all(
    study: Study, technique: Technique, selection: Selection, earlier: Sequence[Learned], progress: Progress
) -> list[Learned]:
    names = [selected.class_name for selected in selection.selected]
    needed = {name: needed_of(technique, name, earlier) for name in names}
    tasks = {name: plan_task(study, technique, name, of) for name, of in needed.items() if of is not None}
    done = {name: load_learned(study.run, name, technique.name, task.key) for name, task in tasks.items()}
    missing = [task for name, task in tasks.items() if done[name] is None]
    if missing:
        progress.did_work()
        progress.info(f"learning the {technique.label} of {len(missing)} classes")
        connect(study.experiment.cluster)
        # longest first: encoding time grows with the number of images, the number of steps is the same for all
        missing.sort(key=lambda task: -len(task.addresses))
        for task in missing:
            if len(task.addresses) == 1:
                progress.info(f"{task.class_name}: only one training image, which the result may reproduce")
        done |= FanOut(study.experiment.cluster, spec_of(study, technique), progress).run(missing)
    return [learned for name in tasks if (learned := done[name]) is not None]


def needed_of(technique: Technique, class_name: str, learned: Sequence[Learned]) -> list[Learned] | None:
    """Records of the techniques that this one depends on, in order; None if one of them failed for the class."""
    by_technique = {one.technique: one for one in learned if one.class_name == class_name and not one.error}
    needs = [needed.name for needed in with_needs(technique.needs)]
    return [by_technique[name] for name in needs] if all(name in by_technique for name in needs) else None


def plan_task(study: Study, technique: Technique, class_name: str, needed: Sequence[Learned]) -> LearningTask:
    """The task of one class; it depends only on the class's own training images."""
    experiment = study.experiment
    material = Material(
        class_name=class_name,
        images_sha256=digest_of_class(study.census, class_name),
        image_size_px=experiment.data.image_size_px,
        run_seed=experiment.seed,
        base_sha256=study.base_sha256,
        needed=needed,
    )
    return LearningTask(
        technique=technique.name,
        class_name=class_name,
        addresses=tuple(record.address for record in study.records_of("train", class_name)),
        image_size_px=experiment.data.image_size_px,
        run_seed=experiment.seed,
        key=key_for(technique, experiment.techniques[technique.name], experiment.base, material),
    )


def spec_of(study: Study, technique: Technique) -> FanOutSpec:
    """The `FanOutSpec` of a technique."""
    experiment, run = study.experiment, study.run
    origin = Origin(base=experiment.base, base_sha256=study.base_sha256, run=run)
    return FanOutSpec(
        worker=Worker,
        arguments=(technique.name, experiment.techniques[technique.name], origin),
        group_size=experiment.cluster.classes_per_actor if technique.shares_batches else 1,
        load=lambda task: load_learned(run, task.class_name, task.technique, task.key),
        store_failure=lambda task, reason: store_failure(run, task.failed(reason), task.key),
        last_point=lambda task: last_point(run, task),
    )
