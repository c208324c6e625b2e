"""A cluster of several nodes on this machine, for tests: fake GPUs, nodes that can be lost, and a driver to be killed.

Nodes belong to the process that made them, and end with it.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from flowerti.config.experiment import Experiment, to_json

_NODE = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 150_000_000}
_DETACHED = (
    "ray::_AutoscalingCoordinatorActor",
    "ray::AutoscalingRequester",
    "ray::_StatsActor",
    "ray::_StatsSummaryActor",
    "ray::_UsageCollectionActor",
    "ray::ActorLocationTracker",
)
"""Ray Data's own book-keepers, one of each in a cluster: they hold no resources and stay when a driver leaves."""
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def several_nodes(num_workers: int) -> Iterator[Any]:
    """A head without work and nodes with a fake GPU each."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args=_NODE | {"num_cpus": 1, "num_gpus": 0})
    try:
        for _ in range(num_workers):
            cluster.add_node(**_NODE)
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any) -> Any:
    """One more node."""
    return cluster.add_node(**_NODE)


def on_nodes(experiment: Experiment, address: str, num_workers: int = 2, num_gpus: float = 1.0) -> Experiment:
    """The experiment on a cluster's GPUs, which are fake: networks stay on the CPU."""
    cluster = replace(
        experiment.cluster, address=address, num_workers=num_workers, num_gpus_per_worker=num_gpus, device="cpu"
    )
    return replace(experiment, cluster=cluster)


class Driver:
    """A run as a process of its own."""

    def __init__(self, experiment: Experiment, folder: Path, until: str = "report", run_dir: str = "") -> None:
        """Start; without a run directory elsewhere, `folder` is it. Its config and log lie beside it."""
        config = folder.parent / f"{folder.name}.json"
        config.write_text(to_json(experiment))
        command = [
            sys.executable,
            "-m",
            "flowerti.cli",
            "run",
            "--config",
            str(config),
            "--run-dir",
            run_dir or str(folder),
        ]
        command += ["--until", until]
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        self._log = folder.parent / f"{folder.name}.log"
        with self._log.open("ab") as log:
            self._begin = log.tell()
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_for(self, stage: str, timeout_s: float = 240) -> bool:
        """Until the stage says something; False where the run ends before."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if f"[{stage}]" in self.log():
                return True
            if self._process.poll() is not None:
                return False
            time.sleep(0.1)
        raise TimeoutError(f"{stage} did not begin: {self.log()}")

    def log(self) -> str:
        """What this process said, without those before it."""
        return self._log.read_bytes()[self._begin :].decode(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def finish(self, timeout_s: float = 400) -> None:
        assert self._process.wait(timeout=timeout_s) == 0, self.log()

    def kill(self) -> None:
        """As a machine's failure would: no chance to clean up."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def workers_of(cluster: Any) -> list[psutil.Process]:
    """Processes of the cluster in which actors or tasks run; not idle ones, nor Ray's own."""
    own = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", *_DETACHED)
    raylets = [process.process.pid for node in cluster.list_all_nodes() for process in _raylets(node)]
    found = []
    for pid in raylets:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    title = " ".join(child.cmdline())
                    if title.startswith("ray::") and not title.startswith(own):
                        found.append(child)
    return found


def _raylets(node: Any) -> list[Any]:
    return node.all_processes.get("raylet", [])


def free_gpus(cluster: Any) -> tuple[float, float]:
    """GPUs that nobody leases, and all GPUs, as a client that joins briefly sees them."""
    script = (
        "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); "
        "print(ray.available_resources().get('GPU', 0), ray.cluster_resources().get('GPU', 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, cluster.address], capture_output=True, text=True, check=True, timeout=120
    )
    free, total = done.stdout.split()[-2:]
    return float(free), float(total)


def free_ports(num: int) -> list[int]:
    """Ports on which nobody listens now."""
    # outside 10002 to 19999, which Ray keeps for its workers
    sockets = [socket.socket() for _ in range(num)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def learnt(folder: Path) -> dict[str, bytes]:
    """The bytes of every token that a run has learnt."""
    return {
        path.parent.name: path.read_bytes() for path in sorted(folder.glob("concepts/*/learned_embeds.safetensors"))
    }
