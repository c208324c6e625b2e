"""Learn the tokens: which classes are missing, and how an actor learns them.

A group is one class unless `cluster.classes_per_actor` says more. What an actor does is `concepts.Inverter`, how actors
are run is `fan_out`'s.
"""

import hashlib
from collections.abc import Callable

from flowerti.artifacts.records import Concept, Selection
from flowerti.cluster.fan_out import Craft, FanOut
from flowerti.cluster.session import connect
from flowerti.data.dataset import read_bytes
from flowerti.personalization.worker import (
    InversionTask,
    Inverter,
    concept_key,
    last_checkpoint,
    load_concept,
    store_failure,
)
from flowerti.study import Study


def invert(study: Study, selection: Selection, say: Callable[[str], None]) -> list[Concept]:
    """Learn every selected class that has no finished concept yet; concepts in the order of the selection."""
    tasks = {task.class_name: task for task in (plan(study, s.class_name) for s in selection.selected)}
    done = {name: load_concept(study.run, name, task.key) for name, task in tasks.items()}
    missing = [task for name, task in tasks.items() if done[name] is None]
    if missing:
        connect(study.experiment.cluster)
        # longest first: the class with most images encodes longest, the steps are the same for all
        missing.sort(key=lambda task: -len(task.addresses))
        for task in missing:
            if len(task.addresses) == 1:
                say(f"{task.class_name}: one training image alone, its token may copy it")
        done |= FanOut(study.experiment.cluster, craft(study), say).run(missing)
    return [concept for name in tasks if (concept := done[name]) is not None]


def plan(study: Study, class_name: str) -> InversionTask:
    """The task of one class; only training images enter it."""
    experiment = study.experiment
    addresses = [record.address for record in study.dataset.of("train", class_name)]
    digest = hashlib.sha256()
    for address in addresses:
        digest.update(hashlib.sha256(read_bytes(address)).digest())
    images = f"{digest.hexdigest()}/{class_name}/{experiment.data.image_size_px}"
    return InversionTask(
        class_name=class_name,
        addresses=tuple(addresses),
        image_size_px=experiment.data.image_size_px,
        run_seed=experiment.seed,
        key=concept_key(
            experiment.techniques["textual_inversion"], experiment.base, study.base_sha256, images, experiment.seed
        ),
    )


def craft(study: Study) -> Craft[Concept]:
    """How classes' tokens are learnt."""
    experiment, run = study.experiment, study.run
    return Craft(
        learner=Inverter,
        arguments=(experiment.base, study.base_sha256, experiment.techniques["textual_inversion"], run),
        group_size=experiment.cluster.classes_per_actor,
        num_steps=experiment.techniques["textual_inversion"].num_steps,
        load=lambda task: load_concept(run, task.class_name, task.key),
        store_failure=lambda task, reason: store_failure(run, task, reason),
        last_point=lambda task: last_checkpoint(run, task),
    )
