"""What the code uses of Ray's insides is in one list, and the installed Ray has all of it."""

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from flowerti.cluster.ray_internals import PRIVATE
from flowerti.cluster.session import _ENVIRONMENT, _LOOPBACK_ONLY

ROOT = Path(__file__).parents[2]
HERE = ROOT / "flowerti/cluster/ray_internals.py"
SOURCES = [
    path for folder in ("flowerti", "ray_jobs", "pretraining", "benchmarks") for path in (ROOT / folder).rglob("*.py")
]
WITHOUT_PROMISE = ("ray.autoscaler.", "ray.core.")
"""Packages that Ray's reference does not describe though their names have no underscore."""


def modules_of(tree: ast.Module) -> Iterator[str]:
    """Ray's modules that are imported, and chains of names that begin with `ray.`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def private_of(source: str) -> set[str]:
    """Those of Ray's insides, without what is theirs: modules whose name or a part of it starts with an underscore."""
    names = {name for name in modules_of(ast.parse(source)) if re.fullmatch(r"ray(\.\w+)+", name)}
    hidden = {name for name in names if any(part.startswith("_") for part in name.split("."))}
    return hidden | {name for name in names if name.startswith(WITHOUT_PROMISE)}


def test_a_private_name_would_be_seen():
    source = (
        "import ray._raylet\nfrom ray.core.generated import x_pb2\nray._private.worker.f()\nfrom ray.data import Data"
    )
    assert private_of(source) >= {"ray._raylet", "ray.core.generated.x_pb2", "ray._private.worker.f"}
    assert not private_of("import ray\nfrom ray.train.torch import get_device\nray.wait([], timeout=1)")


def test_insides_of_ray_are_used_from_one_module():
    used = {path: private_of(path.read_text(encoding="utf-8")) for path in SOURCES if path != HERE}
    assert len(used) > 100
    assert {path.name: names for path, names in used.items() if names} == {}


def test_the_list_is_what_that_module_uses():
    listed = {entry.split(":")[0] for entry in PRIVATE}
    used = private_of(HERE.read_text(encoding="utf-8"))
    assert all(any(name.startswith(module) for name in used) for module in listed)
    assert all(any(name.startswith(module) for module in listed) for name in used)


@pytest.mark.parametrize("entry", PRIVATE)
def test_the_installed_ray_has_it(entry: str):
    module, names = entry.split(":")
    found = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    assert callable(found)


def test_it_takes_what_it_is_given():
    from ray.autoscaler.v2.sdk import get_cluster_status
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    assert list(inspect.signature(get_cluster_status).parameters)[:2] == ["gcs_address", "timeout"]
    state = GetClusterStatusReply.FromString(b"").autoscaling_state
    assert state.autoscaler_state_version == 0
    assert list(state.infeasible_resource_requests) == []
    assert len(state.pending_instance_requests) + len(state.pending_instances) == 0


def test_a_status_has_the_fields_that_are_read():
    from ray.autoscaler.v2 import schema

    def fields(kind: type) -> set[str]:
        return set(kind.__dataclass_fields__)

    wanted = {"resource_demands", "cluster_resource_usage", "pending_nodes", "pending_launches"}
    assert wanted <= fields(schema.ClusterStatus)
    assert {"ray_task_actor_demand", "placement_group_demand"} <= fields(schema.ResourceDemandSummary)
    assert {"resource_name", "total", "used"} <= fields(schema.ResourceUsage)
    assert {"bundle", "count"} <= fields(schema.ResourceRequestByCount)
    assert "count" in fields(schema.LaunchRequest)


READ_IN = {
    "RAY_USAGE_STATS_ENABLED": "_common/usage/usage_constants.py",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "_private/accelerators/accelerator.py",
    "RAY_AIR_NEW_OUTPUT": "tune/tune.py",
    "RAY_CHDIR_TO_TRIAL_DIR": "tune/tune.py",
    "RAY_BACKEND_LOG_LEVEL": "_raylet.so",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "tune/utils/callback.py",
    "TUNE_DISABLE_SIGINT_HANDLER": "tune/tune.py",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "_private/ray_constants.py",
}
"""Where Ray reads each variable that we set; one that it reads no more would change nothing, without a word."""


def test_all_variables_that_are_set_are_here():
    assert set(READ_IN) == {*_ENVIRONMENT, _LOOPBACK_ONLY[0]}


@pytest.mark.parametrize("name", READ_IN)
def test_ray_still_reads_the_variable(name: str):
    ray = Path(str(importlib.import_module("ray").__file__)).parent
    assert name.encode() in (ray / READ_IN[name]).read_bytes()


def test_only_the_tested_minor_of_ray_is_taken():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*table["dependencies"], *table["optional-dependencies"]["cluster"]]
    asked = [Requirement(line) for line in lines if line.startswith("ray[")]
    major, minor = map(int, version("ray").split(".")[:2])
    assert len(asked) == 2
    for requirement in asked:
        assert version("ray") in requirement.specifier
        assert f"{major}.{minor}.99" in requirement.specifier
        assert f"{major}.{minor - 1}.99" not in requirement.specifier
        assert f"{major}.{minor + 1}.0" not in requirement.specifier
