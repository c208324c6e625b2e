"""The connection to Ray: started when the first stage has work, closed when the run ends.

A local session has one CPU more than its workers request, because Ray Data's read tasks need one while an actor pool
occupies the others. This module does not know what runs on the cluster.
"""

import logging
import os
import socket
import sys
from typing import TYPE_CHECKING

from flowerti import stopping
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.local_ray import end_local_ray, start_local_ray
from flowerti.cluster.quiet import stderr_kept_back
from flowerti.cluster.resources import check_fit, check_local_fit, check_startable, cluster_growth, cluster_nodes
from flowerti.config.experiment import ClusterConfig
from flowerti.tables import plugins_environment

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_OBJECT_STORE_BYTES = 1_000_000_000
_CONNECT_TIMEOUT_S = 10.0
_ENVIRONMENT = {
    # disable usage reports, and hide GPUs from actors that did not request one
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # disable Tune's own output and result files: stages report progress, and results are in the run directory
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # every actor pool of Ray Data makes the core log an error about lost arguments, which cannot happen here
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune would take Ctrl-C for itself, and go on until its trials have ended
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
# on Linux Ray listens on all interfaces whatever address it is given; with clusters disabled, as they are by default on
# macOS and Windows, it binds to 127.0.0.1 only
_KEPT_PROCESSES = "RAY_num_workers_soft_limit"
"""Idle processes that Ray keeps; by default one for each CPU."""
_LOOPBACK_ONLY = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def set_environment(config: ClusterConfig) -> None:
    """Set the variables that Ray reads at import, unless the user has; a local session then listens on loopback only.

    Has no effect on the addresses if Ray has already been imported.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if config.address == "local" and "ray" not in sys.modules:
        os.environ.setdefault(*_LOOPBACK_ONLY)


def connect(config: ClusterConfig) -> None:
    """Start Ray on this machine or connect to the cluster of this job; does nothing if already connected.

    Raises:
        ValueError: there is no cluster at the address, its versions differ, it requires a token, or it can never hold
            the workers.
    """
    set_environment(config)
    import ray

    if ray.is_initialized():
        return
    if config.address == "local":
        _start_local(config)
    else:
        _join(config)
    _silence_libraries()


def _start_local(config: ClusterConfig) -> None:
    num_cpus = int(config.num_workers * config.num_cpus_per_worker + 0.999) + 1
    num_gpus = _count_gpus()
    check_local_fit(config, num_gpus, os.cpu_count() or 1)
    # processes of tasks outlast an actor pool in between: a new one would import torch anew, for five seconds
    os.environ.setdefault(_KEPT_PROCESSES, str(2 * num_cpus))
    start_local_ray(
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        object_store_memory=_OBJECT_STORE_BYTES,
        # no logging_level: with a higher one Ray's agents outlive a driver that was killed
        log_to_driver=False,
        runtime_env=_runtime_environment(),
    )


def _join(config: ClusterConfig) -> None:
    import ray
    from ray.exceptions import AuthenticationError

    address = os.environ.get("RAY_ADDRESS", config.address)
    _check_reachable(address)
    try:
        with stopping.handlers_kept(), stderr_kept_back():
            ray.init(address=address, log_to_driver=False, runtime_env=_runtime_environment())
    except ConnectionError as error:
        raise ValueError(
            f"cluster.address: no Ray cluster at {address!r} ({_one_line(error)}): submit the run with "
            "`ray job submit`, or set cluster.address to local"
        ) from error
    except AuthenticationError as error:
        raise ValueError(
            f"cluster.address: the cluster at {address!r} requires a token: set RAY_AUTH_MODE=token and "
            f"RAY_AUTH_TOKEN ({_one_line(error)})"
        ) from error
    except RuntimeError as error:
        if "Version mismatch" not in str(error):
            raise
        raise ValueError(
            f"cluster.address: {_one_line(error)} Install the cluster's versions here, or submit with `ray job submit`"
        ) from error
    try:
        check_fit(config, cluster_nodes(), cluster_growth())
        check_startable(config)
    except ValueError:
        ray.shutdown()
        raise


def _runtime_environment() -> dict[str, dict[str, str]] | None:
    """Environment variables of the workers: the plugins that they load."""
    plugins = plugins_environment()
    return {"env_vars": plugins} if plugins else None


def _check_reachable(address: str) -> None:
    """Probe the port first: Ray itself would block for minutes and then exit the process."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"cluster.address: nothing answers at {address!r} ({error}): check the address, or set it to local"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _silence_libraries() -> None:
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # it warns about Tune's result files, which are disabled: results of trials are in the run directory
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    logging.getLogger("ray.tune.tune").setLevel(logging.WARNING)


def device_of(config: ClusterConfig) -> str:
    """The torch device of an actor's networks."""
    if config.device != "auto":
        return config.device
    return "cuda" if config.num_gpus_per_worker > 0 else "cpu"


def notes_place(run: RunDirectory, scratch: str, name: str) -> "tuple[str, FileSystem | None]":
    """Storage path and file system for the internal files of Tune and Train; None as file system means the local disk.

    These files are never read back, but on several nodes Tune and Train require shared storage.

    Args:
        run: the run directory, used where there are several nodes.
        scratch: a local folder, used on a single node.
        name: path of the files in the run directory.
    """
    import ray

    if len(ray.nodes()) == 1 or run.is_local:
        return scratch, None
    return run.path(name), run.filesystem


def close() -> None:
    """Disconnect from the cluster; ends it and all of its processes if this process started it."""
    if "ray" in sys.modules:
        end_local_ray()
