"""KubeRay's manifests: taken by Kubernetes' own schema of pods and by ours of the fields around them."""

from typing import Any

import jsonschema
import pytest
import ray
from cluster_files import changed, load

from deploy.manifests import check_manifest, manifest_problems
from flowerti.cli import parse_run

KUBERNETES = ["deploy/kuberay-cluster.yaml", "deploy/kuberay-job.yaml", "deploy/kuberay-service-account.yaml"]
JOB = "spec/rayClusterSpec"


@pytest.mark.parametrize("name", KUBERNETES)
def test_the_manifest_passes_our_check(name: str):
    assert manifest_problems(load(name)) == []
    assert manifest_problems(load(name, filled=True)) == []


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
    manifest = changed(load("deploy/kuberay-job.yaml"), where, wrong)
    with pytest.raises(jsonschema.ValidationError) as refused:
        check_manifest(manifest)
    assert where.rsplit("/", 1)[-1] in str(refused.value)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (f"{JOB}/rayVersion", "2.55.0", "rayVersion: is 2.55.0, and constraints.txt has"),
        (f"{JOB}/enableInTreeAutoscaling", False, "does not grow"),
        (f"{JOB}/authOptions/mode", "disabled", "without token authentication"),
        (f"{JOB}/headGroupSpec/serviceType", "LoadBalancer", "from outside"),
        (f"{JOB}/headGroupSpec/rayStartParams/num-cpus", "2", "the head takes tasks"),
        (f"{JOB}/workerGroupSpecs/0/minReplicas", 1, "gpu-spot: is kept while idle"),
        (f"{JOB}/workerGroupSpecs/0/maxReplicas", None, "gpu-spot: has no maxReplicas"),
        (f"{JOB}/workerGroupSpecs/0/template/spec/containers/0/resources", {"limits": {}}, "gpu-spot: asks for no GPU"),
        (f"{JOB}/workerGroupSpecs/0/template/spec/containers/0/image", "r/flowerti:1.0", "gpu-spot/image"),
        (f"{JOB}/headGroupSpec/template/spec/serviceAccountName", None, "head: has no serviceAccountName"),
        (f"{JOB}/headGroupSpec/template/spec/securityContext/runAsUser", 0, "head/securityContext"),
        ("spec/backofLimit", 3, "'backofLimit' was unexpected"),
    ],
)
def test_what_kubernetes_takes_and_a_user_would_regret_is_told(place: str, value: object, told: str):
    found = manifest_problems(changed(load("deploy/kuberay-job.yaml"), place, value))
    assert len(found) == 1
    assert told in found[0]


def test_the_manifests_name_the_ray_that_is_installed():
    clusters = [load("deploy/kuberay-cluster.yaml")["spec"], load("deploy/kuberay-job.yaml")["spec"]["rayClusterSpec"]]
    assert [cluster["rayVersion"] for cluster in clusters] == [ray.__version__] * 2


def test_the_account_of_the_pods_is_the_one_that_is_made():
    made = load("deploy/kuberay-service-account.yaml")["metadata"]["name"]
    for name in KUBERNETES[:2]:
        assert f"'serviceAccountName': '{made}'" in str(load(name))


def test_the_jobs_command_is_one_that_the_command_line_takes():
    words = load("deploy/kuberay-job.yaml", filled=True)["spec"]["entrypoint"].split()
    assert words[:2] == ["python", "/home/ray/flowerti/ray_jobs/pipeline.py"]
    experiment: Any = parse_run(words[2:])
    assert "lab-runs" in str(experiment)
    assert "/opt/flowerti/stable-diffusion-v1-5" in str(experiment)
