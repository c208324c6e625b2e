"""Learn the adapters: which classes with a token lack one, and how an actor learns it.

What an actor does is `adapters.classes.AdapterLearner`, how actors are run is `fan_out`'s.
"""

from collections.abc import Callable

from flowerti.artifacts.records import Adapter, Concept
from flowerti.cluster.fan_out import Craft, FanOut
from flowerti.cluster.session import connect
from flowerti.personalization.lora.classes import (
    AdapterLearner,
    adapter_key,
    last_checkpoint,
    load_adapter,
    store_failure,
)
from flowerti.personalization.worker import InversionTask
from flowerti.study import Study

_SOURCE = "lora"


def adapt(study: Study, concepts: list[Concept], say: Callable[[str], None]) -> list[Adapter]:
    """Learn every missing adapter of a class that has a token; none where sampling asks for no image of them."""
    if _SOURCE not in study.experiment.sampling.sources:
        return []
    tasks = {c.class_name: plan(study, c) for c in concepts if not c.error}
    done = {name: load_adapter(study.run, name, task.key) for name, task in tasks.items()}
    missing = [task for name, task in tasks.items() if done[name] is None]
    if missing:
        say(f"learning {len(missing)} adapters")
        connect(study.experiment.cluster)
        # longest first: the class with most images encodes longest, the steps are the same for all
        missing.sort(key=lambda task: -len(task.addresses))
        done |= FanOut(study.experiment.cluster, craft(study), say).run(missing)
    return [adapter for name in tasks if (adapter := done[name]) is not None]


def plan(study: Study, concept: Concept) -> InversionTask:
    """The task of one class; only training images enter it."""
    experiment, class_name = study.experiment, concept.class_name
    return InversionTask(
        class_name=class_name,
        addresses=tuple(record.address for record in study.dataset.of("train", class_name)),
        image_size_px=experiment.data.image_size_px,
        run_seed=experiment.seed,
        key=adapter_key(
            experiment.techniques["lora"],
            experiment.base,
            study.base_sha256,
            concept.embeddings_sha256,
            f"{study.census.fingerprint}/{class_name}/{experiment.data.image_size_px}/{experiment.seed}",
        ),
    )


def craft(study: Study) -> Craft[Adapter]:
    """How classes' adapters are learnt."""
    experiment, run = study.experiment, study.run
    return Craft(
        learner=AdapterLearner,
        arguments=(experiment.base, experiment.techniques["lora"], run),
        group_size=1,
        num_steps=experiment.techniques["lora"].num_steps,
        load=lambda task: load_adapter(run, task.class_name, task.key),
        store_failure=lambda task, reason: store_failure(run, task, reason),
        last_point=lambda task: last_checkpoint(run, task),
    )
