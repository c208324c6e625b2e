"""Cluster files: accepted by Ray's and Kubernetes' own checks offline, and by ours where these are silent.

No cloud is asked. KubeRay's definition of its resources is a megabyte of which nine tenths repeat Kubernetes' pods, and
no package ships it; so pods are checked by Kubernetes' schema, and the fields around them by a closed list of ours.
"""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[1]
CLOUDS = ["cluster.yaml", "deploy/cluster-gcp.yaml"]
KUBERNETES = ["deploy/kuberay-cluster.yaml", "deploy/kuberay-job.yaml"]
SILENT = {
    "min_workers",
    "head_node",
    "worker_nodes",
    "autoscaling_mode",
    "initial_workers",
    "target_utilization_fraction",
}
"""Keys of earlier versions, some of which Ray still takes without a word and without an effect."""


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def lint(config: dict[str, Any]) -> list[str]:
    """What Ray's check lets through and a user would regret."""
    found = [f"top-level {key} has no effect" for key in SILENT & set(config)]
    types = config["available_node_types"]
    head = types[config["head_node_type"]]
    if head["resources"].get("CPU") != 0:
        found.append("the head takes tasks")
    if not 0 < config.get("upscaling_speed", 0):
        found.append("upscaling_speed is 0: the cluster does not grow")
    if not 0 < config.get("idle_timeout_minutes", 0):
        found.append("idle nodes are never given back")
    workers = {name: node for name, node in types.items() if node is not head}
    found += [f"{name}: no max_workers" for name, node in workers.items() if not node.get("max_workers")]
    found += [f"{name}: kept while idle" for name, node in workers.items() if node.get("min_workers", 0)]
    commands = " ".join(config["head_start_ray_commands"] + config["worker_start_ray_commands"])
    if commands.count("RAY_AUTH_MODE=token ray start") != 2:
        found.append("ray starts without token authentication")
    text = yaml.safe_dump(config)
    found += [f"{address} is open to the world" for address in ("0.0.0.0", "::/0") if address in text]
    return found


@pytest.mark.ray
@pytest.mark.parametrize("name", CLOUDS)
def test_ray_accepts_the_cluster_file(name: str):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(load(name)))


@pytest.mark.parametrize("name", CLOUDS)
def test_the_cluster_file_passes_our_lint(name: str):
    assert lint(load(name)) == []


def test_the_lint_finds_what_ray_accepts():
    config = load("cluster.yaml")
    config["min_workers"] = 3
    config["upscaling_speed"] = 0
    config["provider"]["security_group"]["IpPermissions"][0]["IpRanges"][0]["CidrIp"] = "0.0.0.0/0"
    config["available_node_types"]["head"]["resources"] = {}
    config["available_node_types"]["gpu_spot"]["min_workers"] = 1
    config["head_start_ray_commands"] = ["ray start --head"]
    assert len(lint(config)) == 6


@pytest.mark.parametrize("name", CLOUDS)
def test_there_are_spot_and_on_demand_gpus(name: str):
    types = load(name)["available_node_types"]
    spot = {key for key, node in types.items() if "spot" in yaml.safe_dump(node["node_config"]).lower()}
    gpus = {key for key, node in types.items() if node["resources"].get("GPU")}
    assert spot < gpus


def cluster_of(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"] if manifest["kind"] == "RayCluster" else manifest["spec"]["rayClusterSpec"]


@pytest.mark.parametrize("name", KUBERNETES)
def test_the_manifest_grows_by_itself_and_is_closed(name: str):
    import ray

    manifest = load(name)
    assert manifest["apiVersion"] == "ray.io/v1"
    cluster = cluster_of(manifest)
    assert cluster["rayVersion"] == pinned("ray") == ray.__version__
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def closed(required: str, **fields: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema of an object that has no other fields than these."""
    return {"type": "object", "properties": fields, "required": required.split(), "additionalProperties": False}


TEXT, FLAG, OBJECT = {"type": "string", "minLength": 1}, {"type": "boolean"}, {"type": "object"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
RAY_CLUSTER = closed(
    "rayVersion headGroupSpec workerGroupSpecs",
    rayVersion=TEXT,
    suspend=FLAG,
    enableInTreeAutoscaling=FLAG,
    authOptions=closed("mode", mode={"enum": ["disabled", "token"]}),
    autoscalerOptions=closed(
        "",
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        version={"enum": ["v1", "v2"]},
        resources=OBJECT,
    ),
    headGroupSpec=closed(
        "template rayStartParams",
        template=OBJECT,
        rayStartParams=TEXTS,
        serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        enableIngress=FLAG,
    ),
    workerGroupSpecs={
        "type": "array",
        "minItems": 1,
        "items": closed(
            "groupName template rayStartParams",
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            numOfHosts=COUNT,
            idleTimeoutSeconds=COUNT,
            rayStartParams=TEXTS,
            template=OBJECT,
        ),
    },
)
"""The fields of KubeRay's v1 API that a manifest of ours may use, as its API reference (docs/reference/api.md there)
lists them: a name that is not among them is refused here, where Kubernetes drops it without a word."""
RAY_JOB = closed(
    "entrypoint rayClusterSpec",
    entrypoint=TEXT,
    rayClusterSpec=RAY_CLUSTER,
    runtimeEnvYAML=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    activeDeadlineSeconds=COUNT,
    backoffLimit=COUNT,
    suspend=FLAG,
)


def check_manifest(manifest: dict[str, Any]) -> None:
    """Refuse what KubeRay or Kubernetes would refuse, and what Kubernetes would drop."""
    spec = {"RayCluster": RAY_CLUSTER, "RayJob": RAY_JOB}[manifest["kind"]]
    top = closed(
        "apiVersion kind metadata spec", apiVersion={"const": "ray.io/v1"}, kind=TEXT, metadata=OBJECT, spec=spec
    )
    jsonschema.validate(manifest, top)
    cluster = cluster_of(manifest)
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "of"}, "template": group["template"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", KUBERNETES)
def test_the_manifest_fits_the_schemas_of_kuberay_and_kubernetes(name: str):
    check_manifest(load(name))


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ("spec/shutdownAfterJobFinish", True),
        ("spec/backoffLimit", "3"),
        ("spec/rayClusterSpec/authOptions/mode", "open"),
        ("spec/rayClusterSpec/autoscalerOptions/idleTimeoutSecond", 300),
        ("spec/rayClusterSpec/headGroupSpec/rayStartParams/num-cpus", 0),
        ("spec/rayClusterSpec/workerGroupSpecs/0/maxReplica", 8),
        ("spec/rayClusterSpec/workerGroupSpecs/0/template/spec/nodeSelectors", {}),
        ("spec/rayClusterSpec/workerGroupSpecs/0/template/spec/containers/0/resources/limits/cpu", ["7"]),
        ("spec/rayClusterSpec/workerGroupSpecs/0/template/spec/tolerations/0/operator", 1),
    ],
)
def test_a_manifest_with_a_mistake_is_refused(where: str, wrong: object):
    manifest = copy.deepcopy(load("deploy/kuberay-job.yaml"))
    *path, last = [int(part) if part.isdigit() else part for part in where.split("/")]
    place: Any = manifest
    for part in path:
        place = place[part]
    place[last] = wrong
    with pytest.raises(jsonschema.ValidationError) as refused:
        check_manifest(json.loads(json.dumps(manifest)))
    assert str(last) in str(refused.value)


def pinned(package: str) -> str:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line.split("==")[1] for line in lines if line.startswith(f"{package}=="))
