"""Ray's launcher on a stand-in for AWS: it keeps image, group and role, and does what the head's role allows."""

import copy
import fnmatch
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_files import ROOT, load

from deploy.clouds import allowed

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto")
TAGS = {
    "ray-node-type": "worker",
    "ray-node-name": "ray-flowerti-worker",
    "ray-node-status": "uninitialized",
    "ray-launch-config": "hash",
    "ray-user-node-type": "gpu_spot",
}
"""What the autoscaler writes on a machine that it starts."""


@pytest.fixture(scope="module")
def filled_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """cluster.yaml filled in for an account where the set-up has been run."""
    with pytest.MonkeyPatch.context() as patch, moto.mock_aws():
        # Ray makes a key pair and writes it there
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("AWS_ACCESS_KEY_ID", "x")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        ec2, iam = boto3.client("ec2", region_name="us-east-1"), boto3.client("iam", region_name="us-east-1")
        network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="flowerti", Description="nodes", VpcId=network)["GroupId"]
        for role in ("flowerti-head", "flowerti-worker"):
            iam.create_instance_profile(InstanceProfileName=role)
        config = load("cluster.yaml", filled=True)
        image = ec2.describe_images()["Images"][0]["ImageId"]
        for node in config["available_node_types"].values():
            node["node_config"] |= {"ImageId": image, "SecurityGroupIds": [group]}
        yield config


@pytest.fixture
def account(filled_in: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(filled_in)


def as_launched(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` makes of a file before it starts the head."""
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    logging.getLogger("ray").setLevel(logging.ERROR)
    return bootstrap_aws(prepared)


def test_ray_keeps_what_the_file_says(account: dict[str, Any]):
    made = as_launched(account)
    for name, node in account["available_node_types"].items():
        kept = made["available_node_types"][name]["node_config"]
        assert {key: kept[key] for key in node["node_config"]} == node["node_config"]
        assert kept["SubnetIds"]
    assert made["head_node"] == {}, "Ray gave the head a role of its own"
    assert made["setup_commands"] == made["head_setup_commands"] == made["worker_setup_commands"] == []
    groups = boto3.client("ec2", region_name="us-east-1").describe_security_groups()["SecurityGroups"]
    assert {group["GroupName"] for group in groups} == {"default", "flowerti"}


def test_without_an_image_ray_takes_an_old_one(account: dict[str, Any]):
    from ray.autoscaler._private.aws.config import DEFAULT_AMI

    for node in account["available_node_types"].values():
        del node["node_config"]["ImageId"]
    made = as_launched(account)
    assert made["available_node_types"]["head"]["node_config"]["ImageId"] == DEFAULT_AMI["us-east-1"]


def test_the_heads_role_allows_what_the_autoscaler_does(account: dict[str, Any]):
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    made = as_launched(account)
    provider = AWSNodeProvider(made["provider"], made["cluster_name"])
    done: list[str] = []

    def note(model: Any, **_rest: Any) -> None:
        done.append(f"{model.service_model.service_name}:{model.name}")

    resources: list[Any] = [provider.ec2, provider.ec2_fail_fast]
    for resource in resources:
        resource.meta.client.meta.events.register("before-call.*.*", note)
    provider.create_node(made["available_node_types"]["gpu_spot"]["node_config"], TAGS, 1)
    started = provider.non_terminated_nodes({})
    assert len(started) == 1
    provider.set_node_tags(started[0], {"ray-node-status": "up-to-date"})
    assert provider.internal_ip(started[0])
    provider.terminate_nodes(started)
    assert {"ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances"} <= set(done)
    policy = json.loads((ROOT / "deploy/aws/head-policy.json").read_text())
    assert not [action for action in done if not any(fnmatch.fnmatch(action, known) for known in allowed(policy))]
