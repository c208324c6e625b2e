"""Generates the synthetic images with Ray Data: each row is a shard, which an actor writes if it is missing.

Workers write images to the run directory and return only file names. The code of a worker is
`generation.sampler.Sampler`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ray
from ray.data import ActorPoolStrategy

from flowerti.artifacts.identity import key_of, label_of
from flowerti.artifacts.records import ClassifierReport, ImageSet, Learned, Selection
from flowerti.cluster.session import connect, device_of
from flowerti.config.techniques import with_needs
from flowerti.data.shards import shard_keys
from flowerti.generation.prompting import prompt_of_set
from flowerti.generation.sampler import Sampler
from flowerti.generation.set_inputs import donors_of, load_report, negative_name, start_images
from flowerti.generation.shard_plan import ShardTask, Wanted, plan_shards
from flowerti.progress import Progress
from flowerti.study import Study
from flowerti.tables.sources import SOURCES, ClassNames, Source


def sample(study: Study, selection: Selection, learned: Sequence[Learned], progress: Progress) -> list[ImageSet]:
    """Generate all sets of all selected classes; sets whose technique failed for a learning are skipped.

    So are, and told, sets with images that are not finite.

    Returns:
        The sets by class in the order of the selection, by source in the order of the config, and by learning.

    Raises:
        ValueError: a setting needs the classifier's report, and there is none; a worker cannot use the base; or no set
            is finite.
    """
    report = load_report(study)
    plans = [tasks for s in selection.selected for tasks in plan_sets(study, s.class_name, learned, report)]
    _tell_without_negative(study, plans, progress)
    keys = shard_keys(study.run, [task.file for tasks in plans for task in tasks])
    missing = [task for tasks in plans for task in tasks if keys.get(task.file) != task.key]
    if missing:
        progress.did_work()
        progress.info(f"drawing {sum(task.num_images for task in missing)} images")
        connect(study.experiment.cluster)
        plans = _without_failed(plans, _draw(study, missing, progress), progress)
    return [_describe(study, tasks) for tasks in plans]


def plan_sets(
    study: Study, class_name: str, learned: Sequence[Learned], report: ClassifierReport | None = None
) -> list[list[ShardTask]]:
    """The shards of every source and learning that has images of a class: sources as in the config, then learnings.

    Args:
        study: the run.
        class_name: a weak class.
        learned: what was learnt, for all weak classes.
        report: which classes are confused; `load_report` says whether a setting needs it.
    """
    planned = [
        _plan_set(study, class_name, SOURCES[name], learning, learned, report)
        for name in study.experiment.sampling.sources
        for learning in study.experiment.learnings_of(name)
    ]
    return [tasks for tasks in planned if tasks]


def _plan_set(
    study: Study,
    class_name: str,
    source: Source,
    learning: int,
    learned: Sequence[Learned],
    report: ClassifierReport | None,
) -> list[ShardTask]:
    """The shards of one source and learning; none if the learning failed, or the source has no words for the class."""
    own = [one for one in learned if one.is_of(class_name) and one.learning == learning and not one.error]
    words, inputs = _words_and_inputs(study, class_name, source, own)
    if not words:
        return []
    config = study.experiment.sampling
    weak = frozenset(one.class_name for one in learned if not one.classes)
    donors = donors_of(study, report, class_name, weak) if source.mode == "inter_class" else []
    images, starts_sha256 = start_images(study, class_name, source, learning, donors)
    wanted = Wanted(
        class_name=class_name,
        source=source.name,
        words=words,
        run_seed=study.experiment.seed,
        inputs=inputs,
        learning=learning,
        negative=negative_name(report, class_name, source, config.negative),
        starts_sha256=starts_sha256,
    )
    return plan_shards(wanted, config, images)


def _words_and_inputs(study: Study, class_name: str, source: Source, records: Sequence[Learned]) -> tuple[str, str]:
    """What fills the prompt, and the key of base and learnt parameters.

    Returns:
        No words if the learning failed, or the source has none for the class.
    """
    learned = {one.technique: one for one in records}
    needed = [technique.name for technique in with_needs(source.technique)]
    if not all(name in learned for name in needed):
        return "", ""
    names = ClassNames(
        class_name=class_name,
        alternative=study.alternative_names.get(class_name, ""),
        latin=study.latin_names.get(class_name, ""),
        token=next((learned[name].token for name in reversed(needed) if learned[name].token), ""),
    )
    files = [[name, learned[name].files] for name in needed]
    return source.words(names), key_of(study.base_sha256, study.experiment.base.dtype, files)


def _tell_without_negative(study: Study, plans: Sequence[Sequence[ShardTask]], progress: Progress) -> None:
    if study.experiment.sampling.negative:
        led_away = {tasks[0].class_name for tasks in plans if tasks[0].negative}
        for class_name in dict.fromkeys(tasks[0].class_name for tasks in plans):
            if class_name not in led_away:
                progress.info(f"{class_name}: confused with no class, so its images have no negative prompt")


def _without_failed(
    plans: list[list[ShardTask]], errors: Mapping[str, str], progress: Progress
) -> list[list[ShardTask]]:
    """The sets of which every shard was drawn.

    Args:
        plans: the shards of each set.
        errors: why a shard was not drawn, by its file.
        progress: is told of the others.
    """
    drawn = []
    for tasks in plans:
        found = [errors[task.file] for task in tasks if task.file in errors]
        if found:
            where = f"{label_of(tasks[0].class_name, tasks[0].learning)}: images from {tasks[0].source}"
            progress.info(f"{where} failed and are left out: {found[0]}")
        else:
            drawn.append(tasks)
    if errors and not drawn:
        raise ValueError(f"sampling: no class has images: {next(iter(errors.values()))}")
    return drawn


def _draw(study: Study, tasks: list[ShardTask], progress: Progress) -> dict[str, str]:
    """Draw shards on workers; returns why some of them were not drawn, by file."""
    experiment = study.experiment
    cluster = experiment.cluster
    rows = [{"task": task.to_json()} for task in tasks]
    drawn = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Sampler,
        fn_constructor_args=(
            experiment.base,
            experiment.sampling,
            study.run,
            cluster.num_threads_per_worker,
            device_of(cluster),
        ),
        batch_size=1,
        # two at a time, as is the default, would give all of a few shards to the worker that is there first
        compute=ActorPoolStrategy(size=min(cluster.num_workers, len(rows)), max_tasks_in_flight_per_actor=1),
        num_cpus=cluster.num_cpus_per_worker,
        num_gpus=cluster.num_gpus_per_worker,
    )
    return errors_of(drawn.iter_rows(), tasks, progress)


def errors_of(rows: Iterable[Mapping[str, Any]], tasks: Sequence[ShardTask], progress: Progress) -> dict[str, str]:
    """Take what workers answer until every shard has been answered for.

    Args:
        rows: as `Sampler` returns them, one for each shard.
        tasks: the shards.
        progress: is told how many images there are.

    Returns:
        Why a shard was not drawn, by its file; nothing for those that were.

    Raises:
        ValueError: a worker cannot use the base, so that nothing can be drawn; says why.
    """
    waiting, errors = {task.file: task.num_images for task in tasks}, dict[str, str]()
    total = sum(waiting.values())
    for row in rows:
        if row["is_final"]:
            raise ValueError(row["error"])
        if row["error"]:
            errors[row["file"]] = row["error"]
        del waiting[row["file"]]
        progress.advance(total - sum(waiting.values()), total, "images")
    assert not waiting, "Ray Data dropped a shard"
    return errors


def _describe(study: Study, tasks: list[ShardTask]) -> ImageSet:
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(task.key.encode())
    first, last = tasks[0], tasks[-1]
    return ImageSet(
        class_name=first.class_name,
        source=first.source,
        learning=first.learning,
        prompt=prompt_of_set(SOURCES[first.source], first.words, study.experiment.sampling),
        num_images=last.end,
        files=[task.file for task in tasks],
        key=digest.hexdigest(),
    )
