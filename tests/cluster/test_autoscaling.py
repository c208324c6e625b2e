"""A cluster that begins without a GPU grows by one node for each inversion actor, and gives all of them back.

The autoscaler is Ray's own; its machines are processes here (the fake multi-node provider), and so are its GPUs.
`pytest -m slow tests/cluster/test_autoscaling.py` took 13 minutes on one core that others kept busy.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from nodes import Driver, free_ports, learnt, on_nodes
from tiny_run import tiny_experiment

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]
MAX_NODES = 3
PATIENCE_S = 240


def cluster_config(address: str) -> dict[str, Any]:
    """What `ray up` would write, for machines that are processes."""
    from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

    return {
        "cluster_name": "fake",
        "max_workers": MAX_NODES,
        "upscaling_speed": 100.0,
        "idle_timeout_minutes": 0.1,
        "provider": {
            # external, because the default settings of the type fake_multinode are not in Ray's wheel
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
            # without it new nodes look for the head at the default port
            "gcs_address": address,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
            "gpu": {
                "resources": {"CPU": 1, "GPU": 1, "object_store_memory": 100 * 2**20},
                "node_config": {},
                "min_workers": 0,
                "max_workers": MAX_NODES,
            },
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        **{f"{kind}_commands": [] for kind in ("initialization", "setup", "head_setup", "worker_setup")},
        **{f"{kind}_start_ray_commands": [] for kind in ("head", "worker")},
    }


@contextlib.contextmanager
def autoscaling_head(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a head that grows when it is asked for more than it has."""
    from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

    # a short path: Ray's sockets lie below it, and their names may have 107 characters
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    port, client_port, metric_port = free_ports(3)
    address = f"127.0.0.1:{port}"
    config = Path(folder) / "cluster.json"
    config.write_text(json.dumps(cluster_config(address)))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    environment = os.environ | {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "AUTOSCALER_METRIC_PORT": str(metric_port),
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += ["--num-cpus=2", "--num-gpus=0", "--object-store-memory=150000000", "--include-dashboard=false"]
    command += [f"--ray-client-server-port={client_port}", f"--temp-dir={folder}", f"--autoscaling-config={config}"]
    with (Path(folder) / "head.log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield address
    except BaseException:
        print((Path(folder) / "head.log").read_text())
        raise
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        finally:
            end_processes_of(folder)
            shutil.rmtree(folder, ignore_errors=True)


def end_processes_of(folder: str) -> None:
    """The head's fake machines are nobody's children; they are told by the folder that this test made."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(part.startswith(folder) or f"={folder}" in part for part in process.cmdline()):
                process.send_signal(signal.SIGKILL)


_WATCH = """
import sys, time
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.exceptions import RpcError

while True:
    try:
        status = get_cluster_status(sys.argv[1], timeout=5)
        print(sum(n.ray_node_type_name == "gpu" for n in [*status.active_nodes, *status.idle_nodes]), flush=True)
    except RpcError:
        pass  # the head does not answer yet
    time.sleep(0.3)
"""


class Watch:
    """How many nodes a cluster had beside its head, again and again; a process, because Ray reads its token once."""

    def __init__(self, address: str) -> None:
        self.counts: list[int] = []
        self._process = subprocess.Popen([sys.executable, "-c", _WATCH, address], stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.counts.append(int(line))

    def wait_for(self, num_nodes: int, begin: int = 0) -> None:
        """Until a count after the first `begin` ones is this."""
        deadline = time.monotonic() + PATIENCE_S
        while num_nodes not in self.counts[begin:]:
            assert time.monotonic() < deadline, f"never {num_nodes} nodes: {self.counts}"
            assert self._process.poll() is None
            time.sleep(0.5)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Watch]]:
    with autoscaling_head(monkeypatch) as address:
        watch = Watch(address)
        try:
            watch.wait_for(0)
            yield address, watch
        finally:
            watch.stop()


def test_a_cluster_grows_from_nothing_for_its_actors_and_shrinks_to_nothing(head, tiny_base, tmp_path):
    address, watch = head
    asked_too_much = on_nodes(tiny_experiment(tiny_base), address, num_gpus=4.0)
    refused = Driver(asked_too_much, tmp_path / "refused", until="classify")
    with pytest.raises(AssertionError, match="4 GPU, and no kind of node that the cluster may start holds that"):
        refused.finish()
    assert max(watch.counts) == 0
    folder = tmp_path / "run"
    driver = Driver(on_nodes(tiny_experiment(tiny_base), address, MAX_NODES), folder, until="personalize")
    driver.finish(timeout_s=900)
    assert max(watch.counts) == MAX_NODES
    assert "waiting for 1 CPU and 1 GPU per worker" in driver.log()
    watch.wait_for(0, begin=len(watch.counts))
    assert len(learnt(folder)) == MAX_NODES
