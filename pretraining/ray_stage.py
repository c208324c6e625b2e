"""Makes a base on Ray: tasks create the examples, Ray Train trains the networks, data-parallel.

The training itself is in `base_training`, which does not depend on Ray; a lost worker resumes with the unfinished part.
"""

import json
import os
import time
from collections.abc import Sequence
from typing import Any

import ray
import ray.train
from ray.exceptions import RayTaskError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from flowerti import stopping
from flowerti.cluster.data_parallel import part_of_worker
from flowerti.cluster.local_ray import end_local_ray, start_local_ray
from flowerti.progress import Event, Listener, Metric, Progress
from flowerti.tables import plugins_environment
from pretraining.allowed_images import AllowedImages
from pretraining.examples import Block, Examples
from pretraining.folders import Folders
from pretraining.prepared import prepare_examples
from pretraining.recipe import PretrainConfig

_BIG_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def pretrain(config: PretrainConfig, allowed: AllowedImages, folders: Folders, num_workers: int) -> None:
    """Make the examples, train the networks and save the pipeline.

    Args:
        config: how the base is made.
        allowed: which images it may see.
        folders: where it is made.
        num_workers: processes that read and train, one core each; sums round differently at another number.

    Raises:
        ValueError: the data or the work folder cannot be used; names what is wrong.
    """
    start = time.monotonic()
    env = {**_BIG_BLOCKS, **_ONE_THREAD, **plugins_environment()}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    start_local_ray(num_cpus=num_workers, runtime_env={"env_vars": env})
    try:
        prepare_examples(config, allowed, folders.work_dir, run_as_tasks)
        print(f"examples are made after {time.monotonic() - start:.0f} s", flush=True)
        with stopping.handlers_kept():
            _trainer(config, folders, num_workers).fit()
    finally:
        end_local_ray()
    print(f"done after {time.monotonic() - start:.0f} s", flush=True)


def run_as_tasks(blocks: Sequence[Block]) -> list[Examples]:
    """Make the examples of each block in a task of its own."""
    task = ray.remote(num_cpus=1, max_retries=3)(_call)
    try:
        return ray.get([task.remote(block) for block in blocks])
    except RayTaskError as error:
        raise error.cause from None


def _call(block: Block) -> Examples:
    return block()


def _trainer(config: PretrainConfig, folders: Folders, num_workers: int) -> TorchTrainer:
    resolved = Folders(output_dir=folders.output_dir.resolve(), work_dir=folders.work_dir.resolve())
    return TorchTrainer(
        train_on_worker,
        train_loop_config={"config": config, "folders": resolved},
        scaling_config=ScalingConfig(num_workers=num_workers, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(
            name="pretrain",
            storage_path=str(resolved.work_dir / "ray"),
            failure_config=FailureConfig(max_failures=2),
        ),
    )


def train_on_worker(job: dict[str, Any]) -> None:
    """Entry point of a training worker."""
    import torch
    from torch.distributed import barrier

    from pretraining.base_training import TrainingProcess, train_base

    torch.set_num_threads(1)
    part = part_of_worker()
    folders: Folders = job["folders"]
    process = TrainingProcess(
        config=job["config"],
        output_dir=folders.output_dir,
        work_dir=folders.work_dir,
        progress=Progress("pretrain", [_ray_listener(part.rank)]),
        part=part,
        wait_for_all=barrier,
    )
    train_base(process)


def _ray_listener(rank: int) -> Listener:
    """A listener that sends metrics to Ray Train; the first worker prints them with the seconds since now."""
    start = time.monotonic()

    def listen(event: Event) -> None:
        if isinstance(event, Metric):
            seconds = round(time.monotonic() - start, 1)
            metrics = {"name": event.name, "step": event.step, "value": event.value, "seconds": seconds}
            if rank == 0:
                print(json.dumps(metrics), flush=True)
            ray.train.report(metrics)

    return listen
