"""Draw the synthetic images with Ray Data: a row is a shard, an actor of the pool writes it where it is missing.

Images go from the worker to the run directory; only names and hashes come back. What a worker does is
`sampling.Sampler`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable

import ray
from ray.data import ActorPoolStrategy

from flowerti.artifacts.records import Adapter, Concept, ImageSet, SelectedClass, Selection
from flowerti.cluster.session import connect, device_of
from flowerti.data.shards import read_shard_key
from flowerti.sampling import Sampler, ShardTask, plan_shards
from flowerti.study import Study


def sample(
    study: Study,
    selection: Selection,
    concepts: list[Concept],
    adapters: list[Adapter],
    say: Callable[[str], None],
) -> list[ImageSet]:
    """Draw every set of every selected class; those of a token or adapter where it was learnt."""
    plans = [plan for s in selection.selected for plan in plan_sets(study, s, concepts, adapters)]
    missing = [task for _, tasks in plans for task in tasks if read_shard_key(study.run, task.file) != task.key]
    if missing:
        say(f"drawing {sum(task.end - task.begin for task in missing)} images")
        connect(study.experiment.cluster)
        _draw(study, missing)
    return [_describe(study, tasks) for _, tasks in plans]


def plan_sets(
    study: Study, selected: SelectedClass, concepts: list[Concept], adapters: list[Adapter]
) -> list[tuple[str, list[ShardTask]]]:
    """The shards of every source that a class has."""
    experiment, class_name = study.experiment, selected.class_name
    concept = next(c for c in concepts if c.class_name == class_name)
    names = {
        "raw": class_name,
        "alternative_name": study.alternative_names.get(class_name, ""),
        "latin_name": study.latin_names.get(class_name, ""),
    }
    if not concept.error:
        names["token"] = concept.token
    inputs = {"token": [study.base_sha256, concept.embeddings_sha256]}
    for adapter in adapters:
        if adapter.class_name == class_name and not adapter.error:
            names["lora"] = concept.token
            inputs["lora"] = [*inputs["token"], adapter.weights_sha256]
    return [
        (
            source,
            plan_shards(
                class_name,
                source,
                names[source],
                experiment.sampling,
                experiment.seed,
                experiment.base.dtype,
                *inputs.get(source, [study.base_sha256]),
            ),
        )
        for source in experiment.sampling.sources
        if names.get(source)
    ]


def _draw(study: Study, tasks: list[ShardTask]) -> None:
    experiment = study.experiment
    cluster = experiment.cluster
    rows = [{"task": json.dumps(dataclasses.asdict(task))} for task in tasks]
    written = (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map_batches(
            Sampler,
            fn_constructor_args=(
                experiment.base,
                experiment.sampling,
                study.run,
                cluster.num_threads_per_worker,
                device_of(cluster),
            ),
            batch_size=1,
            compute=ActorPoolStrategy(size=min(cluster.num_workers, len(rows))),
            num_cpus=cluster.num_cpus_per_worker,
            num_gpus=cluster.num_gpus_per_worker,
        )
        .take_all()
    )
    assert {row["file"] for row in written} == {task.file for task in tasks}, "Ray Data dropped a shard"


def _describe(study: Study, tasks: list[ShardTask]) -> ImageSet:
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(task.key.encode())
    first, last = tasks[0], tasks[-1]
    return ImageSet(
        class_name=first.class_name,
        source=first.source,
        prompt=study.experiment.sampling.prompt.format(first.name),
        num_images=last.end,
        files=[task.file for task in tasks],
        key=digest.hexdigest(),
    )
