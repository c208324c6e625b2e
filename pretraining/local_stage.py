"""Makes a base without Ray: processes of this machine train the networks, data-parallel, and take the same steps.

For a machine on which another Ray runs, and for one process that is easy to stop and to go on with. A process that is
lost ends the others; the same command resumes with the unfinished part.
"""

import json
import os
import tempfile
import time
from pathlib import Path

import torch
from torch.distributed import barrier, destroy_process_group, init_process_group
from torch.multiprocessing.spawn import spawn

from flowerti import stopping
from flowerti.classifier.batch_share import BatchShare
from flowerti.cluster.data_parallel import average
from flowerti.cluster.local_ray import LocalProcesses
from flowerti.progress import Event, Listener, Metric, Progress
from pretraining.allowed_images import AllowedImages
from pretraining.base_training import TrainingProcess, train_base
from pretraining.folders import Folders
from pretraining.prepared import prepare_examples, run_here
from pretraining.recipe import PretrainConfig


def pretrain_here(config: PretrainConfig, allowed: AllowedImages, folders: Folders, num_processes: int) -> None:
    """Make the examples, train the networks and save the pipeline.

    Args:
        config: how the base is made.
        allowed: which images it may see.
        folders: where it is made.
        num_processes: processes that train, one core each; sums round differently at another number.

    Raises:
        ValueError: the data or the work folder cannot be used; names what is wrong.
    """
    start = time.monotonic()
    prepare_examples(config, allowed, folders.work_dir, run_here)
    print(f"examples are made after {time.monotonic() - start:.0f} s", flush=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when a process starts
    processes = LocalProcesses()
    with tempfile.TemporaryDirectory() as meeting, stopping.at_forced_end(processes.end):
        try:
            spawn(_train, (config, folders, num_processes, Path(meeting)), nprocs=num_processes)
        except BaseException:
            processes.end()  # they would train on, each waiting for the others
            raise
    print(f"done after {time.monotonic() - start:.0f} s", flush=True)


def _train(rank: int, config: PretrainConfig, folders: Folders, num_processes: int, meeting: Path) -> None:
    """Entry point of a process; all of them find each other by a file in the folder `meeting`."""
    torch.set_num_threads(1)
    init_process_group("gloo", init_method=f"file://{meeting}/processes", rank=rank, world_size=num_processes)
    process = TrainingProcess(
        config=config,
        output_dir=folders.output_dir,
        work_dir=folders.work_dir,
        progress=Progress("pretrain", [_printer()] if rank == 0 else []),
        part=BatchShare(rank=rank, size=num_processes, average=average),
        wait_for_all=barrier,
    )
    train_base(process)
    destroy_process_group()


def _printer() -> Listener:
    """A listener that prints each metric as a line of JSON with the seconds since now."""
    start = time.monotonic()

    def listen(event: Event) -> None:
        if isinstance(event, Metric):
            seconds = round(time.monotonic() - start, 1)
            print(json.dumps({"name": event.name, "step": event.step, "value": event.value, "seconds": seconds}))

    return listen
