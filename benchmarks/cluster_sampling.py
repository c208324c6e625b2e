"""Images drawn in a second through Ray Data, against as many processes in a bare loop."""

import multiprocessing
import time
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.cluster_size import NUM_WORKERS, Measured, Size, some_classes
from benchmarks.paired import compared_rates
from flowerti.artifacts.records import Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.sample import plan_sets, sample
from flowerti.config.experiment import BaseConfig, SamplingConfig
from flowerti.generation.sampler import Sampler
from flowerti.generation.shard_plan import ShardTask
from flowerti.progress import Progress
from flowerti.study import Study

_FEW_SHARDS = 2


def sampling(study: Study, size: Size, folder: str) -> Measured:
    """Images a second through Ray Data once warm, against as many processes in a bare loop.

    Warm: a stage over many shards less one over few, so that the start of the actors falls out.
    """
    config = study.experiment.sampling
    extra = size.num_shards * config.batch_size
    few, many = (_FEW_SHARDS * config.batch_size + more for more in (0, extra))
    ours, bare = np.zeros(size.num_pairs), np.zeros(size.num_pairs)
    loop = f"{folder}/bare"
    loaded = (study.experiment.base, config, RunDirectory(loop))
    with multiprocessing.get_context("spawn").Pool(NUM_WORKERS, _load_sampler, loaded) as pool:
        _draw_bare(pool, _with_images(study, few, loop))
        for pair in range(size.num_pairs):
            bare[pair] = _draw_bare(pool, _with_images(study, extra, loop))
            short = _draw(_with_images(study, few, f"{folder}/ray-few-{pair}"))
            ours[pair] = _draw(_with_images(study, many, f"{folder}/ray-many-{pair}")) - short
    ratio, details = compared_rates(bare, ours, extra)
    return {"sampling_rate_to_bare_loop": ratio}, details


def _with_images(study: Study, num: int, folder: str) -> Study:
    # without a learnt token only the images from the name are drawn
    config = replace(study.experiment.sampling, sources=("raw", "token"), num_per_class=num)
    return replace(study, experiment=replace(study.experiment, sampling=config), run=RunDirectory(folder))


def _draw(study: Study) -> float:
    chosen = some_classes(study).selected[0]
    begun = time.perf_counter()
    sample(study, Selection(selected=[chosen], by_evidence=[]), [], Progress())
    return time.perf_counter() - begun


_sampler: Sampler | None = None


def _load_sampler(base: BaseConfig, config: SamplingConfig, run: RunDirectory) -> None:
    global _sampler
    _sampler = Sampler(base, config, run, num_threads=1, device="cpu")


def _write_shard(task: ShardTask) -> None:
    assert _sampler is not None
    _sampler.write(task)


def _draw_bare(pool: Any, study: Study) -> float:
    (tasks,) = plan_sets(study, some_classes(study).selected[0].class_name, [])
    begun = time.perf_counter()
    pool.map(_write_shard, tasks, chunksize=1)
    spent = time.perf_counter() - begun
    for task in tasks:
        study.run.delete(task.file)  # else the next loop would find it
    return spent
