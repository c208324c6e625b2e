"""What a launcher's file says to AWS and to Google Cloud, held against their own descriptions where they are here."""

import json
import re
import shlex
import subprocess
from typing import Any

import pytest
from cluster_files import ROOT, changed, load

from deploy.clouds import allowed, problems

AWS, GCP = "cluster.yaml", "deploy/cluster-gcp.yaml"
SPOT = "available_node_types/gpu_spot/node_config"
HEAD = "available_node_types/head/node_config"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (f"{SPOT}/ImageId", None, "gpu_spot/ImageId: is missing, so Ray takes Ubuntu 18.04"),
        (f"{SPOT}/ImageId", "latest_dlami", "gpu_spot/ImageId: is missing"),
        (f"{SPOT}/ImageId", "ubuntu-22.04", "is no id of a machine image"),
        (f"{SPOT}/SecurityGroupIds", None, "the whole internet try ssh"),
        (f"{SPOT}/BlockDeviceMappings/0/Ebs/VolumeSize", 50, "50 GB do not hold the image"),
        (f"{SPOT}/IamInstanceProfile", None, "gpu_spot/IamInstanceProfile: has no Name"),
        (f"{SPOT}/IamInstanceProfile/Name", "flowerti-head", "is the head's, which may start machines"),
        (f"{SPOT}/IamInstanceProfile/Name", "other", "does not let the head give gpu_spot the role other"),
        (f"{SPOT}/InstanceType", "p5.48xlarge", "does not let the head start p5.48xlarge"),
        ("cluster_name", "roses", "does not let the head end machines of roses"),
        ("provider/security_group", {"GroupName": "x"}, "Ray adds a rule that lets the whole internet try ssh"),
    ],
)
def test_a_mistake_for_aws_is_told(place: str, value: object, told: str):
    found = problems(changed(load(AWS), place, value))
    # the cluster's name is also that of the folder in which Ray lays the token
    assert len(found) == (2 if place == "cluster_name" else 1)
    assert any(told in text for text in found)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("auth", {"ssh_user": "ubuntu"}, "auth/ssh_proxy_command: is missing"),
        (f"{SPOT}/networkInterfaces", None, "give the node an address on the internet"),
        (f"{SPOT}/networkInterfaces/0/accessConfigs", [{}], "give the node an address on the internet"),
        (f"{SPOT}/serviceAccounts", None, "reads neither bucket nor registry"),
        (f"{SPOT}/serviceAccounts/0/scopes", [], "lack the scope"),
        (f"{SPOT}/serviceAccounts/0/email", "flowerti-head@your-project.iam.gserviceaccount.com", "are the head's"),
        (f"{SPOT}/scheduling", None, "set onHostMaintenance to TERMINATE"),
        (f"{HEAD}/disks/0/initializeParams/diskSizeGb", 20, "20 GB do not hold the image"),
        (
            f"{HEAD}/disks/0/initializeParams/sourceImage",
            "projects/p/global/images/common-cu128-ubuntu-2204-nvidia-570-v20250101",
            "has no driver 580",
        ),
        (
            f"{HEAD}/disks/0/initializeParams/sourceImage",
            "projects/p/global/images/family/common-cu129-ubuntu-2204-nvidia-580",
            "a family moves",
        ),
    ],
)
def test_a_mistake_for_google_is_told(place: str, value: object, told: str):
    found = problems(changed(load(GCP), place, value))
    assert len(found) == 1
    assert told in found[0]


def test_another_cloud_is_refused():
    with pytest.raises(ValueError, match="provider/type: 'azure' is not known here: aws or gcp is"):
        problems(changed(load(AWS), "provider/type", "azure"))


@pytest.mark.parametrize("name", ["head", "gpu_spot", "gpu_on_demand"])
def test_aws_takes_the_settings_by_its_own_description(name: str):
    botocore_session = pytest.importorskip("botocore.session")
    from botocore.validate import ParamValidator

    service = botocore_session.get_session().get_service_model("ec2")
    settings = load(AWS)["available_node_types"][name]["node_config"]
    shape = service.operation_model("RunInstances").input_shape
    asked: dict[str, Any] = {"MinCount": 1, "MaxCount": 1}
    assert not ParamValidator().validate({**asked, **settings}, shape).has_errors()
    assert ParamValidator().validate({**asked, **settings, "ImageID": "ami-1"}, shape).has_errors()


@pytest.mark.parametrize("name", ["trust", "node-policy", "head-policy"])
def test_policies_are_whole(name: str):
    policy = json.loads((ROOT / f"deploy/aws/{name}.json").read_text())
    assert policy["Version"] == "2012-10-17"
    assert all(statement["Effect"] == "Allow" for statement in policy["Statement"])
    assert not [action for action in allowed(policy) if "*" in action] if name != "trust" else True


def test_workers_may_not_start_machines():
    policy = json.loads((ROOT / "deploy/aws/node-policy.json").read_text())
    assert {action.split(":")[0] for action in allowed(policy)} == {"s3", "ecr"}


SCRIPTS = {"aws": AWS, "gcp": GCP}


@pytest.mark.parametrize("cloud", SCRIPTS)
def test_the_set_up_makes_what_the_file_names(cloud: str):
    path = ROOT / f"deploy/{cloud}/set-up.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert path.stat().st_mode & 0o111
    script, content = path.read_text(), load(SCRIPTS[cloud])
    text = str(content)
    for account in ("flowerti-head", "flowerti-worker"):
        assert account in script
        assert account in text
    if cloud == "gcp":
        (family,) = re.findall(r"common-\S+-nvidia-\d+", script)
        assert f"/{family}-" in text
        assert "subnets create flowerti " in script
        assert "/subnetworks/flowerti" in text
    else:
        assert str(re.findall(r"/aws/service/[\w./-]+", script)[0]) in (ROOT / AWS).read_text()


def test_one_region_and_one_registry_in_a_file():
    aws, gcp = load(AWS), load(GCP)
    registry = aws["docker"]["image"].split("/")[0]
    (login,) = [command for command in aws["initialization_commands"] if "docker login" in command]
    assert shlex.split(login)[-1] == registry
    assert f".{aws['provider']['region']}." in registry
    assert f"--region {aws['provider']['region']} " in login
    host = gcp["docker"]["image"].split("/")[0]
    assert any(host in command for command in gcp["initialization_commands"])
    region, zone = gcp["provider"]["region"], gcp["provider"]["availability_zone"]
    assert host.startswith(f"{region}-")
    assert zone.startswith(f"{region}-")
    assert f"--zone {zone} " in gcp["auth"]["ssh_proxy_command"]
    networks = [node["node_config"]["networkInterfaces"] for node in gcp["available_node_types"].values()]
    assert all(f"/regions/{region}/" in interface["subnetwork"] for network in networks for interface in network)
