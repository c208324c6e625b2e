"""Data-parallel training with Ray Train: several processes train one network, each on its share of every batch.

The training is a plain function that receives its `BatchShare`. This module does not know what it trains.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from torch import Tensor
from torch.distributed import all_reduce, get_world_size

from flowerti import stopping
from flowerti.classifier.batch_share import BatchShare
from flowerti.cluster.resources import needs_of
from flowerti.cluster.session import device_of
from flowerti.config.experiment import ClusterConfig

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


def train_together(
    train: Callable[[dict[str, Any]], None],
    job: dict[str, Any],
    num_processes: int,
    cluster: ClusterConfig,
    storage: str,
    filesystem: "FileSystem | None" = None,
) -> None:
    """Call a function in several processes at once and wait; if one process is lost, all of them restart.

    Args:
        train: called with the job in every process; finds its share by `part_of_worker`.
        job: its argument, which is sent to every process.
        num_processes: number of processes; each gets the CPUs and GPUs of a worker.
        cluster: resources of a worker and number of retries.
        storage: path for Ray Train's internal files, which are never read back.
        filesystem: file system of `storage`; None for the local disk.
    """
    trainer = TorchTrainer(
        train,
        train_loop_config=job,
        # gloo for gradients on CPUs, NCCL for those on GPUs, where each process has its own
        torch_config=TorchConfig(backend="nccl" if device_of(cluster) == "cuda" else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=num_processes,
            use_gpu=cluster.num_gpus_per_worker > 0,
            resources_per_worker=dict(needs_of(cluster)),
        ),
        run_config=RunConfig(
            name="together",
            storage_path=storage,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=cluster.max_retries_per_class),
        ),
    )
    with stopping.handlers_kept():  # it takes Ctrl-C for itself, and does not give it back
        trainer.fit()


def part_of_worker() -> BatchShare:
    """The batch share of the calling process, which must be a Ray Train worker."""
    context = ray.train.get_context()
    return BatchShare(rank=context.get_world_rank(), size=context.get_world_size(), average=average)


def average(gradients: Sequence[Tensor]) -> None:
    """Replace gradients by their mean over all processes, in place, with a single all-reduce."""
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    all_reduce(flat)
    flat /= get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, parts, strict=True):
        gradient.copy_(mean.view_as(gradient))
