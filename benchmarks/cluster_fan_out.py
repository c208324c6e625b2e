"""What it costs the cluster's benchmark to learn some classes on actors, against the best that could be."""

import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.cluster_size import NUM_CLASSES, NUM_WORKERS, Measured, Size, some_classes
from benchmarks.paired import ratio_of
from flowerti.artifacts.records import Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.personalize import personalize, spec_of
from flowerti.cluster.session import device_of
from flowerti.config.techniques import TECHNIQUES
from flowerti.plan import schedule
from flowerti.progress import Progress
from flowerti.study import Study


def fan_out(study: Study, size: Size, folder: str) -> Measured:
    """Three classes over two workers against the best that could be, with and without the start of the actors.

    A first fan-out, which does not count, warms Ray and the files.
    """
    start_s = actor_start_s(study)
    inversion = replace(study.experiment.techniques["textual_inversion"], num_steps=size.num_steps)
    wall_s, ideal_s, warm_s = (np.zeros(size.num_pairs) for _ in range(3))
    driver_s = np.zeros(size.num_pairs)
    for pair in range(-1, size.num_pairs):
        # the tokens alone
        sampling = replace(study.experiment.sampling, sources=("raw", "token"))
        experiment = replace(study.experiment, sampling=sampling, techniques={"textual_inversion": inversion})
        fresh = replace(study, experiment=experiment, run=RunDirectory(f"{folder}/fan-out-{pair}"))
        begun, begun_cpu = time.perf_counter(), time.process_time()
        learned = personalize(fresh, some_classes(study), lambda technique: nullcontext(Progress()))
        wall_s[pair], driver_s[pair] = time.perf_counter() - begun, time.process_time() - begun_cpu
        ideal_s[pair], warm_s[pair] = (ideal_makespan_s(learned, start) for start in (0.0, start_s))
    ratios = {"fan_out_efficiency": ratio_of(ideal_s, wall_s), "fan_out_efficiency_warm": ratio_of(warm_s, wall_s)}
    return ratios, {
        "num_classes": NUM_CLASSES,
        "num_workers": NUM_WORKERS,
        "num_steps": size.num_steps,
        "wall_s": float(np.median(wall_s)),
        "ideal_s": float(np.median(ideal_s)),
        "actor_start_s": start_s,
        "driver_cpu_s_per_class": float(np.median(driver_s)) / NUM_CLASSES,
    }


def ideal_makespan_s(learned: Iterable[Learned], start_s: float) -> float:
    """The shortest time in which workers could do what was done, when each worker begins with a start.

    Raises:
        RuntimeError: a class failed; says why.
    """
    if failed := [one.error for one in learned if one.error]:
        raise RuntimeError(f"a class was not learnt: {failed[0]}")
    return schedule([one.seconds for one in learned], NUM_WORKERS, start_s).makespan_s


def actor_start_s(study: Study) -> float:
    """From asking for as many actors as there are workers until their networks are loaded; imports included."""
    import ray

    cluster, spec = study.experiment.cluster, spec_of(study, TECHNIQUES["textual_inversion"])
    begun = time.perf_counter()
    actors: list[Any] = [
        ray.remote(spec.worker)
        .options(num_cpus=cluster.num_cpus_per_worker, num_gpus=cluster.num_gpus_per_worker)
        .remote(*spec.arguments, 1, device_of(cluster))
        for _ in range(NUM_WORKERS)
    ]
    ray.get([actor.__ray_ready__.remote() for actor in actors])
    seconds = time.perf_counter() - begun
    for actor in actors:
        ray.kill(actor)
    return seconds
