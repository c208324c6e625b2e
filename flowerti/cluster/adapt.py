"""Learn the adapters with Ray Data: a row is a class, an actor of the pool learns it from its last checkpoint.

Ray Data starts a lost actor anew and hands it the class again; a class that fails is recorded with its reason and takes
nobody down. What a worker does is `adapters.classes.AdapterLearner`.
"""

import dataclasses
import json
from collections.abc import Callable

import ray
from ray.data import ActorPoolStrategy

from flowerti.adapters.classes import AdapterLearner, AdapterTask, adapter_key, load_adapter, load_record
from flowerti.artifacts.records import Adapter, Concept
from flowerti.cluster.session import connect, device_of
from flowerti.study import Study

SOURCE = "lora"


def adapt(study: Study, concepts: list[Concept], say: Callable[[str], None]) -> list[Adapter]:
    """Learn every missing adapter of a class that has a token; none where sampling asks for no picture of them."""
    if SOURCE not in study.experiment.sampling.sources:
        return []
    tasks = [_plan(study, concept) for concept in concepts if not concept.error]
    missing = [task for task in tasks if load_adapter(study.run, task.class_name, task.key) is None]
    if missing:
        say(f"learning {len(missing)} adapters")
        connect(study.experiment.cluster)
        # longest first: the class with most pictures encodes longest, the steps are the same for all
        _learn(study, sorted(missing, key=lambda task: -len(task.addresses)), say)
    return [load_record(study.run, task.class_name, task.key) for task in tasks]


def _plan(study: Study, concept: Concept) -> AdapterTask:
    """The task of one class; only training pictures enter it."""
    experiment, class_name = study.experiment, concept.class_name
    return AdapterTask(
        class_name=class_name,
        addresses=tuple(record.address for record in study.dataset.of("train", class_name)),
        image_size_px=experiment.data.image_size_px,
        run_seed=experiment.seed,
        key=adapter_key(
            experiment.sampling.adapter,
            experiment.base,
            study.base_sha256,
            concept.embeddings_sha256,
            f"{study.census.fingerprint}/{class_name}/{experiment.data.image_size_px}/{experiment.seed}",
        ),
    )


def _learn(study: Study, tasks: list[AdapterTask], say: Callable[[str], None]) -> None:
    experiment = study.experiment
    cluster = experiment.cluster
    rows = [{"task": json.dumps(dataclasses.asdict(task))} for task in tasks]
    learnt = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        AdapterLearner,
        fn_constructor_args=(
            experiment.base,
            experiment.sampling.adapter,
            study.run,
            cluster.num_threads_per_worker,
            device_of(cluster),
        ),
        batch_size=1,
        compute=ActorPoolStrategy(size=min(cluster.num_workers, len(rows))),
        num_cpus=cluster.num_cpus_per_worker,
        num_gpus=cluster.num_gpus_per_worker,
    )
    for row in learnt.iter_rows():
        say(f"{row['class_name']}: failed: {row['error']}" if row["error"] else f"{row['class_name']}: adapter learnt")
