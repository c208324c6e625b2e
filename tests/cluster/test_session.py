"""Joining a cluster: what cannot work is refused at once and in one sentence, and nobody else gets in."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from flowerti.cluster.session import connect, device_of
from flowerti.config.experiment import ClusterConfig


def config(**changes: Any) -> ClusterConfig:
    return ClusterConfig(**({"num_cpus_per_worker": 1.0, "num_gpus_per_worker": 0.0} | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, "cpu"), ({"num_gpus_per_worker": 0.5}, "cuda"), ({"num_gpus_per_worker": 1.0, "device": "cpu"}, "cpu")],
)
def test_networks_lie_where_the_config_says(changes: dict[str, Any], expected: str):
    assert device_of(config(**changes)) == expected


@pytest.mark.ray
def test_an_address_where_nothing_answers_is_refused_within_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(ValueError, match=f"nothing answers at '{address}'"):
            connect(config(address=address))
    assert time.monotonic() - begun < 15


_HEAD = """
import sys, ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "object_store_memory": 10**8})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextmanager
def _printed_by(script: str) -> Iterator[str]:
    """The address that a process with a Ray of its own prints; the process ends with the block."""
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert owner.stdin is not None and owner.stdout is not None
    try:
        address = owner.stdout.readline().strip()
        assert address
        yield address
    finally:
        owner.stdin.close()
        owner.wait(timeout=60)


_CLIENT = """
import sys, ray
from flowerti.cluster import session
from flowerti.config.experiment import ClusterConfig
address, version, num_gpus = sys.argv[1:]
if version:
    ray.__version__ = version
try:
    session.connect(ClusterConfig(address=address, num_gpus_per_worker=float(num_gpus)))
    print("joined", ray.is_initialized())
except ValueError as error:
    print(error, ray.is_initialized())
"""


@pytest.mark.ray
def test_a_real_cluster_refuses_what_it_cannot_serve(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    root = Path(__file__).parents[2]
    with _printed_by(_HEAD) as address:

        def ask(version: str, num_gpus: str) -> str:
            command = [sys.executable, "-c", _CLIENT, address, version, num_gpus]
            begun = time.monotonic()
            done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=120)
            assert time.monotonic() - begun < 90
            assert done.returncode == 0, done.stderr
            return done.stdout.strip().splitlines()[-1]

        assert ask("", "0") == "joined True"
        assert "a worker asks for 1 CPU and 1 GPU, and no node of the cluster can hold that" in ask("", "1")
        said = ask("2.1.0", "0")
        assert said.startswith("cluster.address: Version mismatch") and said.endswith("False")
        assert "2.1.0" in said


_PLUGIN = """
from flowerti.tables.sources import SOURCES, Source

def register_greenhouse():
    SOURCES.add(Source(name="greenhouse", label="greenhouse", colour="#123456", words=lambda names: names.class_name))
"""
_DRIVER = """
import sys, ray
from flowerti.tables import plugins
from flowerti.cluster import session
from flowerti.config.experiment import ClusterConfig

def label_of(name):
    from flowerti.tables.sources import SOURCES
    return SOURCES[name].label

plugins.load_plugins(sys.argv[2:])
session.connect(ClusterConfig(address=sys.argv[1], num_workers=1))
try:
    print(ray.get(ray.remote(label_of).remote("greenhouse")))
except ValueError as error:
    print(" ".join(str(error).split()))
session.close()
"""


@pytest.mark.ray
def test_workers_have_the_rows_of_the_runs_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On this machine, and on a cluster whose nodes find the plugin's module but were not told to load it."""
    for name in ("RAY_ADDRESS", "FLOWERTI_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    root = Path(__file__).parents[2]
    (tmp_path / "greenhouse_plugin.py").write_text(_PLUGIN)
    paths = [str(tmp_path), str(root), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))

    def ask(address: str, *plugins: str) -> str:
        command = [sys.executable, "-c", _DRIVER, address, *plugins]
        # in another folder, so that nothing is found by chance
        done = subprocess.run(command, cwd=tmp_path.parent, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    plugin = "greenhouse_plugin:register_greenhouse"
    assert ask("local", plugin) == "greenhouse"
    with _printed_by(_HEAD) as address:
        assert ask(address, plugin) == "greenhouse"
        assert "unknown source of images 'greenhouse'" in ask(address), "another run on the cluster has them not"


_LOCAL = """
import sys, ray
from flowerti.cluster import session
from flowerti.config.experiment import ClusterConfig
session.connect(ClusterConfig(num_workers=1))
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
session.close()
"""
_STRANGER = """
import sys
from ray._raylet import GcsClient
try:
    print("let in", GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10))
except Exception as error:
    print(type(error).__name__, " ".join(str(error).split()))
"""


@pytest.mark.ray
def test_a_local_ray_lets_nobody_in_without_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    root = Path(__file__).parents[2]
    with _printed_by(_LOCAL) as address:

        def ask(mode: str) -> str:
            monkeypatch.setenv("RAY_AUTH_MODE", mode)
            command = [sys.executable, "-c", _STRANGER, address]
            done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=60)
            return done.stdout + done.stderr

        assert "let in" in ask("token"), "its owner has the token"
        refused = ask("disabled")
        assert "let in" not in refused
        assert "auth" in refused.lower()


_LISTENING = """
import json, psutil
from flowerti.cluster import session
from flowerti.config.experiment import ClusterConfig
config = ClusterConfig(num_workers=1)
session.set_environment(config)
import ray
session.connect(config)
actor = ray.remote(dict).remote()
ray.get(actor.__ray_ready__.remote())
me = psutil.Process()
found = {}
for process in [me, *me.children(recursive=True)]:
    addresses = [c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    found.setdefault(process.name(), []).extend(addresses)
session.close()
print(json.dumps(found))
"""


@pytest.mark.ray
def test_a_local_ray_listens_on_loopback_alone(monkeypatch: pytest.MonkeyPatch):
    for name in ("RAY_ADDRESS", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-c", _LISTENING]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=180
    )
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1, "lines of Ray's own"
    found = json.loads(done.stdout)
    assert found["gcs_server"] and found["raylet"]
    listening = {address for addresses in found.values() for address in addresses}
    assert all(ip_address(address.removeprefix("::ffff:")).is_loopback for address in listening)
