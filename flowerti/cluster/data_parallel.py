"""Several processes that train one network together through Ray Train, each on its share of every batch.

What is trained is a plain function that is given its `BatchShare`. This module does not know what that is.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from torch import Tensor
from torch.distributed import all_reduce, get_world_size

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
    """Call a function in several processes at once, and wait; when one of them is lost, all begin anew.

    Args:
        train: called with the job in every process; finds its share by `part_of_worker`.
        job: what it needs; travels to every process.
        num_processes: how many; each gets the CPUs and GPUs of a worker.
        cluster: resources of a worker and attempts.
        storage: where Ray Train may keep notes; nothing of them is read back.
        filesystem: what `storage` is a path of; the local disk where it is None.
    """
    TorchTrainer(
        train,
        train_loop_config=job,
        # gloo for gradients on CPUs, NCCL for those on GPUs, of which a process has one for itself
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
    ).fit()


def part_of_worker() -> BatchShare:
    """The share of the process that asks, which Ray Train has started."""
    context = ray.train.get_context()
    return BatchShare(rank=context.get_world_rank(), size=context.get_world_size(), average=average)


def average(gradients: Sequence[Tensor]) -> None:
    """Mean over the processes, in place, in one message."""
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    all_reduce(flat)
    flat /= get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, parts, strict=True):
        gradient.copy_(mean.view_as(gradient))
