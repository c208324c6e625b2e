"""What Ray lets through in a launcher's file is told, and Ray's own check takes ours."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cluster_files import ROOT, changed, load

from deploy import launcher
from deploy.clouds import problems
from deploy.image import environment_of, read_stages
from deploy.launcher import ray_folder

CLOUDS = ["cluster.yaml", "deploy/cluster-gcp.yaml"]


@pytest.mark.parametrize("name", CLOUDS)
def test_ray_accepts_the_file(name: str):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(load(name)))


@pytest.mark.parametrize("name", CLOUDS)
def test_the_file_passes_our_check_but_for_what_is_to_be_filled_in(name: str):
    assert problems(load(name)) == []
    assert problems(load(name, filled=True)) == []


def test_the_check_does_not_import_ray():
    code = "import sys, deploy.check as c; c.main([]); sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("min_workers", 3, ["'min_workers' was unexpected"]),
        ("upscaling_speed", 0, ["upscaling_speed"]),
        ("idle_timeout_minutes", None, ["idle_timeout_minutes"]),
        ("available_node_types/head/resources", {}, ["head: takes tasks"]),
        ("available_node_types/gpu_spot/min_workers", 1, ["gpu_spot: is kept while idle"]),
        ("available_node_types/gpu_spot/max_workers", None, ["gpu_spot: has no max_workers"]),
        ("head_start_ray_commands", ["ray start --head"], ["without token authentication"]),
        ("docker/image", None, ["docker/image: is missing"]),
        ("docker/container_name", None, ["docker/container_name: is missing"]),
        ("docker/image", "somewhere/flowerti:latest", ["is not REGISTRY/flowerti:0.1.0"]),
        ("docker/worker_image", "other:1", ["docker/worker_image: all nodes run one image"]),
        ("docker/worker_run_options", [], ["may have no GPU"]),
        ("docker/head_run_options", [], ["the head has no GPU"]),
        ("docker/pull_before_run", False, ["keeps an old image"]),
        ("setup_commands", ["pip install flowerti"], ["installs at every boot"]),
        ("setup_commands", None, ["Ray runs its own: which ray || pip install"]),
        ("head_setup_commands", None, ["Ray runs its own: pip install"]),
        ("metadata", None, ["the pinned torch needs 580"]),
        ("metadata/min_nvidia_driver", 570, ["is 570, and the pinned torch needs 580"]),
        ("initialization_commands", [], ["may read /tmp/ray_tmp_mount/flowerti/~/.ray", "no command refuses a driver"]),
        ("file_mounts", {}, ["without which nodes refuse each other"]),
    ],
)
def test_a_mistake_is_told_and_nothing_else(name: str, place: str, value: object, told: list[str]):
    found = problems(changed(load(name), place, value))
    assert len(found) == len(told)
    assert all(part in text for part, text in zip(told, found, strict=True))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("cluster_nmae", "x"),
        ("docker/imag", "x"),
        ("available_node_types/head/resources/CPU", 0.5),
        ("auth/ssh_proxy_use_node_id", True),
        ("head_node_type", "header"),
    ],
)
def test_what_rays_schema_refuses_is_told(place: str, value: object):
    assert len(problems(changed(load("cluster.yaml"), place, value))) == 1


def test_the_schema_is_that_of_the_installed_ray():
    import ray

    assert ray_folder() == Path(str(ray.__file__)).parent


def test_without_ray_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launcher.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ValueError, match=r"ray is not installed: .* `make setup`"):
        ray_folder()


@pytest.mark.parametrize("name", CLOUDS)
def test_there_are_spot_and_on_demand_gpus(name: str):
    types: dict[str, Any] = load(name)["available_node_types"]
    spot = {key for key, node in types.items() if "spot" in str(node["node_config"]).lower()}
    gpus = {key for key, node in types.items() if node["resources"].get("GPU")}
    assert spot < gpus


@pytest.mark.parametrize("name", CLOUDS)
def test_ray_starts_the_container_with_the_token_where_ray_in_it_looks(name: str):
    from ray.autoscaler._private.docker import docker_start_cmds

    content = load(name)
    docker, home = content["docker"], environment_of(read_stages((ROOT / "Dockerfile").read_text())[-1])["HOME"]
    options = docker["run_options"] + docker["worker_run_options"]
    mounts, cluster = content["file_mounts"], content["cluster_name"]
    command = docker_start_cmds(
        "ubuntu", docker["image"], mounts, docker["container_name"], options, cluster, home, "docker"
    )
    words = shlex.split(command)
    (mounted,) = [word for word in words if "auth_token" in word]
    outside, inside = mounted.split(":")
    assert inside == f"{home}/.ray/auth_token"
    assert any(outside in step for step in content["initialization_commands"])
    assert words[-2:] == [docker["image"], "bash"]
    assert "--gpus all --net=host" in command


@pytest.mark.parametrize("name", CLOUDS)
def test_commands_are_shell(name: str):
    content = load(name)
    commands = [command for key, found in content.items() if key.endswith("_commands") for command in found]
    assert len(commands) > 6
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True, capture_output=True)


@pytest.mark.parametrize(("driver", "taken"), [("580.105.08", True), ("595.91.07", True), ("570.172.08", False)])
@pytest.mark.parametrize("name", CLOUDS)
def test_a_machine_with_an_old_driver_is_refused_before_the_image_is_pulled(
    name: str, driver: str, taken: bool, tmp_path: Path
):
    (command,) = [c for c in load(name)["initialization_commands"] if "driver_version" in c]
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\necho {driver}\n")
    smi.chmod(0o755)
    (tmp_path / "vendor").write_text("0x10de\n")
    here = command.replace("/sys/bus/pci/devices/*/vendor", str(tmp_path / "vendor"))
    assert here != command
    answer = subprocess.run(["bash", "-c", here], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
    assert (answer.returncode == 0) is taken


def test_a_machine_without_a_gpu_is_not_asked_for_a_driver(tmp_path: Path):
    (command,) = [c for c in load("cluster.yaml")["initialization_commands"] if "driver_version" in c]
    here = command.replace("/sys/bus/pci/devices/*/vendor", str(tmp_path / "*"))
    subprocess.run(["bash", "-c", here], env={"PATH": "/usr/bin:/bin"}, check=True, timeout=30)
