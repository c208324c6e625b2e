"""Personalises the base for the selected classes: finds what each technique still has to train.

Techniques run in sequence, each after the technique it depends on. A class is learnt as often as the experiment says,
and a learning for which the technique before failed is skipped; a joint technique leaves such a class out. The code of
an actor is `personalization.worker.Worker`; `fan_out` schedules the actors.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from flowerti.artifacts import layout
from flowerti.artifacts.checked_files import taken_from
from flowerti.artifacts.identity import ALL_CLASSES
from flowerti.artifacts.records import Learned, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.fan_out import FanOut, FanOutSpec
from flowerti.cluster.session import connect
from flowerti.config.techniques import Technique, techniques_for, with_needs
from flowerti.personalization.learned_notes import LearnedNotes
from flowerti.personalization.store import Material, joint_key_for, key_for, load_learned, store_failure
from flowerti.personalization.worker import ClassImages, LearningTask, Origin, Worker, last_point
from flowerti.progress import Progress
from flowerti.study import Study

_MOST_CHECKED_BYTES = 1 << 28
ProgressFor = Callable[[str], AbstractContextManager[Progress]]
"""Context manager that provides the progress of one technique, given its name; each technique is timed separately."""


def personalize(study: Study, selection: Selection, progress_for: ProgressFor) -> list[Learned]:
    """Train all techniques that the experiment's sources require, for every learning without a finished record.

    Returns:
        Records of all learnings, including failed ones, by technique, then in the order of the selection, then by
        learning.
    """
    learned: list[Learned] = []
    for technique in techniques_for(study.experiment.sampling.sources):
        with progress_for(technique.name) as progress:
            learned += _learn_all(study, technique, selection, learned, progress)
    return learned


def _learn_all(
    study: Study, technique: Technique, selection: Selection, earlier: Sequence[Learned], progress: Progress
) -> list[Learned]:
    tasks = _plan_tasks(study, technique, selection, earlier)
    notes = LearnedNotes(study.run)
    done = {task.subject: record for task, record in zip(tasks, notes.load(tasks), strict=True)}
    missing = [task for task in tasks if done[task.subject] is None]
    if missing:
        progress.did_work()
        _announce(technique, missing, progress)
        _tell_damaged_checkpoints(study.run, missing)
        connect(study.experiment.cluster)
        # longest first: encoding time grows with the number of images, the number of steps is the same for all
        missing.sort(key=lambda task: -task.num_images)
        learnt = FanOut(study.experiment.cluster, spec_of(study, technique), progress).run(missing)
        notes.learnt((task, learnt[task.subject]) for task in missing)
        done |= learnt
    return [learned for task in tasks if (learned := done[task.subject]) is not None]


def _plan_tasks(
    study: Study, technique: Technique, selection: Selection, earlier: Sequence[Learned]
) -> list[LearningTask]:
    """The tasks of all classes, those of one class side by side, without those whose needs failed.

    Of a joint technique there is one for each learning, of the classes whose needs did not fail.
    """
    names = [selected.class_name for selected in selection.selected]
    learnings = range(study.experiment.replication.num_learnings_in_all)
    needed = {(name, k): needed_of(technique, name, earlier, k) for name in names for k in learnings}
    if not technique.is_joint:
        found = [(name, k, records) for (name, k), records in needed.items() if records is not None]
        return [plan_task(study, technique, name, records, k) for name, k, records in found]
    together = [{name: records for name in names if (records := needed[name, k]) is not None} for k in learnings]
    return [plan_joint_task(study, technique, records, k) for k, records in enumerate(together) if records]


def _announce(technique: Technique, tasks: Sequence[LearningTask], progress: Progress) -> None:
    num_images = {one.class_name: len(one.addresses) for task in tasks for one in task.images}
    together = " together" if technique.is_joint else ""
    more = f", {len(tasks)} learnings" if len(tasks) > len({task.class_name for task in tasks}) else ""
    progress.info(f"learning the {technique.label} of {len(num_images)} classes{together}{more}")
    for class_name, num in num_images.items():
        if num == 1:
            progress.info(f"{class_name}: only one training image, which the result may reproduce")


def _tell_damaged_checkpoints(run: RunDirectory, tasks: Sequence[LearningTask]) -> None:
    """Tell here which checkpoints the workers, whose words are not heard, will not go on from."""
    present = run.files(layout.CONCEPTS)
    names = [task.checkpoint_file for task in tasks if task.checkpoint_file in present]
    # one of a whole network would fill the driver's memory
    taken_from(run, {name: present[name] for name in names if present[name].size <= _MOST_CHECKED_BYTES}, len)


def needed_of(
    technique: Technique, class_name: str, learned: Sequence[Learned], learning: int = 0
) -> list[Learned] | None:
    """Records of the techniques that this one depends on, in order, of the same learning of the class.

    Returns:
        None if one of them failed, or has not been learnt.
    """
    of_subject = [one for one in learned if one.is_of(class_name) and one.learning == learning]
    by_technique = {one.technique: one for one in of_subject if not one.error}
    needs = [needed.name for needed in with_needs(technique.needs)]
    return [by_technique[name] for name in needs] if all(name in by_technique for name in needs) else None


def plan_task(
    study: Study, technique: Technique, class_name: str, needed: Sequence[Learned], learning: int = 0
) -> LearningTask:
    """The task of one learning of a class; it depends only on the class's own training images in its draw."""
    experiment = study.experiment
    material = _material(study, class_name, needed, learning)
    return LearningTask(
        technique=technique.name,
        class_name=class_name,
        addresses=_addresses(study, class_name, learning),
        image_size_px=experiment.data.image_size_px,
        run_seed=experiment.seed,
        key=key_for(technique, experiment.techniques[technique.name], experiment.base, material),
        learning=learning,
    )


def plan_joint_task(
    study: Study, technique: Technique, needed: Mapping[str, Sequence[Learned]], learning: int = 0
) -> LearningTask:
    """The task of one learning of classes together, from what each of them needs; it depends on their order."""
    experiment = study.experiment
    materials = [_material(study, name, records, learning) for name, records in needed.items()]
    return LearningTask(
        technique=technique.name,
        class_name=ALL_CLASSES,
        together=tuple(ClassImages(class_name=name, addresses=_addresses(study, name, learning)) for name in needed),
        image_size_px=experiment.data.image_size_px,
        run_seed=experiment.seed,
        key=joint_key_for(technique, experiment.techniques[technique.name], experiment.base, materials),
        learning=learning,
    )


def _material(study: Study, class_name: str, needed: Sequence[Learned], learning: int) -> Material:
    experiment = study.experiment
    return Material(
        class_name=class_name,
        images_sha256=study.drawn_sha256(class_name, experiment.replication.draw_of(learning)),
        image_size_px=experiment.data.image_size_px,
        run_seed=experiment.seed,
        base_sha256=study.base_sha256,
        needed=needed,
        learning=learning,
    )


def _addresses(study: Study, class_name: str, learning: int) -> tuple[str, ...]:
    draw = study.experiment.replication.draw_of(learning)
    return tuple(record.address for record in study.drawn_images(class_name, draw))


def spec_of(study: Study, technique: Technique) -> FanOutSpec:
    """The `FanOutSpec` of a technique."""
    experiment, run = study.experiment, study.run
    origin = Origin(base=experiment.base, base_sha256=study.base_sha256, run=run)
    return FanOutSpec(
        worker=Worker,
        arguments=(technique.name, experiment.techniques[technique.name], origin),
        group_size=experiment.cluster.classes_per_actor if technique.shares_batches else 1,
        load=lambda task: load_learned(run, task.class_name, task.technique, task.key, task.learning),
        store_failure=lambda task, reason: store_failure(run, task.failed(reason), task.key),
        last_point=lambda task: last_point(run, task),
    )
