"""The connection to Ray: started when the first stage has work, closed when the run ends.

A local session gets one CPU more than its workers ask for, because Ray Data's reading tasks need one while an actor
pool holds the others. This module does not know what runs on the cluster.
"""

import logging
import os

from flowerti.config import ClusterConfig

_OBJECT_STORE_BYTES = 1_000_000_000
_ENVIRONMENT = {
    # no reports home, and no actor that lands on a GPU it did not ask for
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # Tune's own output and result files; progress is told by the stages, results are in the run directory
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # every actor pool of Ray Data makes the core print an error about arguments that cannot be lost here
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}


def connect(config: ClusterConfig) -> None:
    """Start Ray on this machine, or join the cluster that this job runs on; does nothing where it is connected.

    Raises:
        ValueError: address is "auto" and there is no cluster, or this machine has fewer GPUs than one worker asks for.
    """
    import ray

    if ray.is_initialized():
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if config.address == "local":
        _start_local(config)
    else:
        _join(config)
    _silence_data()


def _start_local(config: ClusterConfig) -> None:
    import ray

    num_cpus = int(config.num_workers * config.num_cpus_per_worker + 0.999) + 1
    num_gpus = _count_gpus()
    if config.num_gpus_per_worker > num_gpus:
        raise ValueError(
            f"cluster.num_gpus_per_worker: {config.num_gpus_per_worker:g} asked for, this machine has {num_gpus}: "
            "set it to 0, or join a cluster with cluster.address auto"
        )
    ray.init(
        address="local",
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        # no logging_level: with a quieter one Ray's agents outlive a driver that was killed
        log_to_driver=False,
    )


def _join(config: ClusterConfig) -> None:
    import ray

    try:
        address = None if config.address == "auto" else config.address
        ray.init(address=os.environ.get("RAY_ADDRESS", address or "auto"), log_to_driver=False)
    except ConnectionError as error:
        raise ValueError(
            f"cluster.address: no Ray cluster at {config.address!r} ({error}): submit the run with `ray job submit`, "
            "or set cluster.address to local"
        ) from error


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _silence_data() -> None:
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def device_of(config: ClusterConfig) -> str:
    """Where an actor puts its networks."""
    return "cuda" if config.num_gpus_per_worker > 0 else "cpu"


def close() -> None:
    """Leave the cluster, ending it where it was started here."""
    import sys

    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()
