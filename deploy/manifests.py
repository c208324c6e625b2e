"""KubeRay's manifests: their structure, Kubernetes' schema of their pods, and what neither tells.

KubeRay's definition of its resources is a megabyte of which nine tenths repeat Kubernetes' pods, and no package ships
it; so pods are checked by Kubernetes' schema, and the fields around them by a closed list of ours.
"""

from collections.abc import Iterator
from typing import Any

import jsonschema

from deploy.launcher import name_problems
from deploy.pins import IMAGE_USER, pins

Manifest = dict[str, Any]


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


def check_manifest(manifest: Manifest) -> None:
    """Refuse what KubeRay or Kubernetes would refuse, and what Kubernetes would drop.

    Raises:
        jsonschema.ValidationError: names the field.
        ValueError: Kubernetes' schema is not installed.
    """
    try:
        import kubernetes_validate
    except ImportError as error:
        raise ValueError("kubernetes-validate is not installed, which pods are checked by: run `make setup`") from error
    version = kubernetes_validate.latest_version()
    if manifest.get("kind") == "ServiceAccount":
        kubernetes_validate.validate(manifest, version, strict=True)
        return
    spec = {"RayCluster": RAY_CLUSTER, "RayJob": RAY_JOB}[manifest["kind"]]
    top = closed(
        "apiVersion kind metadata spec", apiVersion={"const": "ray.io/v1"}, kind=TEXT, metadata=OBJECT, spec=spec
    )
    jsonschema.validate(manifest, top)
    for template in templates(manifest).values():
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "of"}, "template": template}
        kubernetes_validate.validate(pod, version, strict=True)


def cluster_of(manifest: Manifest) -> dict[str, Any]:
    """The cluster that a manifest describes, itself or as a job's."""
    return manifest["spec"] if manifest["kind"] == "RayCluster" else manifest["spec"]["rayClusterSpec"]


def templates(manifest: Manifest) -> dict[str, Any]:
    """The pod template of the head and of each group of workers."""
    cluster = cluster_of(manifest)
    groups = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]["template"], **groups}


def cluster_problems(manifest: Manifest) -> Iterator[str]:
    """A cluster that is open, or does not grow and shrink, or works on its head."""
    cluster = cluster_of(manifest)
    if cluster["rayVersion"] != pins()["ray"]:
        yield f"rayVersion: is {cluster['rayVersion']}, and constraints.txt has {pins()['ray']}"
    if cluster.get("enableInTreeAutoscaling") is not True:
        yield "enableInTreeAutoscaling: is off, so the cluster does not grow"
    if cluster.get("authOptions") != {"mode": "token"}:
        yield "authOptions: Ray starts without token authentication"
    head = cluster["headGroupSpec"]
    if head.get("serviceType") != "ClusterIP":
        yield "headGroupSpec/serviceType: is reached from outside the Kubernetes cluster"
    if head["rayStartParams"].get("num-cpus") != "0":
        yield "headGroupSpec/rayStartParams: the head takes tasks: set num-cpus to 0"
    for group in cluster["workerGroupSpecs"]:
        if group.get("minReplicas") or group.get("replicas"):
            yield f"{group['groupName']}: is kept while idle: set replicas and minReplicas to 0"
        if not group.get("maxReplicas"):
            yield f"{group['groupName']}: has no maxReplicas"
        (container,) = group["template"]["spec"]["containers"]
        if "nvidia.com/gpu" not in container["resources"].get("limits", {}):
            yield f"{group['groupName']}: asks for no GPU"


def pod_problems(manifest: Manifest) -> Iterator[str]:
    """Whether every pod runs the one image, as its user, with an account for the bucket."""
    for name, template in templates(manifest).items():
        spec = template["spec"]
        for container in spec["containers"]:
            yield from (f"{name}/image: {problem}" for problem in name_problems(container["image"]))
        if not spec.get("serviceAccountName"):
            yield f"{name}: has no serviceAccountName, so its pods do not reach the bucket"
        context = spec.get("securityContext", {})
        if not context.get("runAsNonRoot") or context.get("runAsUser") != IMAGE_USER:
            yield f"{name}/securityContext: the pod does not run as the image's user {IMAGE_USER}"


def manifest_problems(manifest: Manifest) -> list[str]:
    """All that is wrong with a manifest; placeholders are another matter."""
    try:
        check_manifest(manifest)
    except jsonschema.ValidationError as error:
        return [f"{'/'.join(map(str, error.absolute_path)) or 'top level'}: {error.message}"]
    if manifest["kind"] == "ServiceAccount":
        return []
    return [*cluster_problems(manifest), *pod_problems(manifest)]
