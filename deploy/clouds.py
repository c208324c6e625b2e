"""What a launcher's file must say to AWS and to Google Cloud: machine images, roles, networks.

Ray hands these fields on unread, so its own check knows none of them.
"""

import fnmatch
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from deploy.launcher import COMMON, Config, schema_problems, workers
from deploy.pins import ROOT, min_driver

MIN_DISK_GB = 100
"""Of a machine that holds the image, its layers while they are unpacked, and what a run writes."""
HEAD_ACTIONS = (
    "ec2:CreateTags",
    "ec2:DescribeInstances",
    "ec2:RunInstances",
    "ec2:TerminateInstances",
    "iam:PassRole",
)
"""What Ray's autoscaler does on AWS; PassRole because the workers it starts have a role."""


def node_configs(config: Config) -> Iterator[tuple[str, Config, bool]]:
    """Name, settings for the cloud, and whether it has a GPU, of each node type."""
    for name, node in config["available_node_types"].items():
        yield name, node["node_config"], bool(node["resources"].get("GPU"))


def allowed(policy: dict[str, Any], resource: str = "") -> list[str]:
    """Actions that a policy's statements allow, those alone whose resource ends like this."""
    found = []
    for statement in policy["Statement"]:
        resources = [statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"]
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        found += actions if any(text.endswith(resource) for text in resources) else []
    return found


def aws_problems(config: Config) -> Iterator[str]:
    """Machine image, group, disk and role of each node type."""
    if "security_group" in config["provider"]:
        yield "provider/security_group: Ray adds a rule that lets the whole internet try ssh: use SecurityGroupIds"
    for name, node, _gpu in node_configs(config):
        image = node.get("ImageId", "")
        if not image or image.lower() == "latest_dlami":
            yield f"{name}/ImageId: is missing, so Ray takes Ubuntu 18.04, where neither torch nor the project installs"
        elif not re.fullmatch(r"ami-([0-9a-f]{8}|[0-9a-f]{17}|your-.*)", image):
            yield f"{name}/ImageId: {image} is no id of a machine image"
        if not node.get("SecurityGroupIds"):
            yield f"{name}/SecurityGroupIds: are missing, so Ray makes a group that lets the whole internet try ssh"
        disk = sum(device.get("Ebs", {}).get("VolumeSize", 0) for device in node.get("BlockDeviceMappings", []))
        if disk < MIN_DISK_GB:
            yield f"{name}/BlockDeviceMappings: {disk} GB do not hold the image: {MIN_DISK_GB} do"
    yield from aws_role_problems(config)


def aws_role_problems(config: Config) -> Iterator[str]:
    """Whether the head may start workers and give them their role, by the policy that lies beside this file."""
    profiles = {name: node.get("IamInstanceProfile", {}).get("Name") for name, node, _ in node_configs(config)}
    yield from (f"{name}/IamInstanceProfile: has no Name" for name, profile in profiles.items() if not profile)
    head = profiles[config["head_node_type"]]
    policy = json.loads((ROOT / "deploy/aws/head-policy.json").read_text(encoding="utf-8"))
    for action in HEAD_ACTIONS:
        if not any(fnmatch.fnmatchcase(action, pattern) for pattern in allowed(policy)):
            yield f"deploy/aws/head-policy.json: does not allow {action}, which the autoscaler does"
    types = {node.get("InstanceType", "") for name, node, _ in node_configs(config) if name in workers(config)}
    for name in workers(config):
        if profiles[name] == head:
            yield f"{name}/IamInstanceProfile: is the head's, which may start machines"
        elif profiles[name] and "iam:PassRole" not in allowed(policy, f"role/{profiles[name]}"):
            yield f"deploy/aws/head-policy.json: does not let the head give {name} the role {profiles[name]}"
    limits = [s["Condition"]["StringEquals"].get("ec2:InstanceType") for s in policy["Statement"] if "Condition" in s]
    startable = {name for limit in limits if limit for name in limit}
    for name in sorted(types - startable):
        yield f"deploy/aws/head-policy.json: does not let the head start {name}"
    wanted = f"aws:ResourceTag/ray-cluster-name': '{config['cluster_name']}'"
    if wanted not in str(policy):
        yield f"deploy/aws/head-policy.json: does not let the head end machines of {config['cluster_name']}"


def gcp_problems(config: Config) -> Iterator[str]:
    """Machine image, network, disk and maintenance of each node type."""
    internal = config["provider"].get("use_internal_ips", False)
    if internal and not config.get("auth", {}).get("ssh_proxy_command"):
        yield "auth/ssh_proxy_command: is missing, and nothing else reaches a head without an address on the internet"
    for name, node, gpu in node_configs(config):
        yield from (f"{name}/{problem}" for problem in gcp_disk_problems(node))
        networks = node.get("networkInterfaces")
        if internal and (not networks or any("accessConfigs" in network for network in networks)):
            yield f"{name}/networkInterfaces: give the node an address on the internet, against use_internal_ips"
        if gpu and node.get("scheduling", {}).get("onHostMaintenance") != "TERMINATE":
            yield f"{name}/scheduling: a machine with a GPU cannot move: set onHostMaintenance to TERMINATE"
    yield from gcp_account_problems(config)


def gcp_disk_problems(node: Config) -> Iterator[str]:
    """Machine image and size of a node's boot disk."""
    boot = next((disk.get("initializeParams", {}) for disk in node.get("disks", []) if disk.get("boot")), {})
    image, size = boot.get("sourceImage", ""), boot.get("diskSizeGb", 0)
    driver = re.search(r"-nvidia-(\d+)", image)
    if not image or "/family/" in image:
        yield "sourceImage: names no image; a family moves: name one image of it"
    if not driver or int(driver[1]) < min_driver():
        yield f"sourceImage: {image.rsplit('/', 1)[-1]} has no driver {min_driver()}, which the pinned torch needs"
    if size < MIN_DISK_GB:
        yield f"diskSizeGb: {size} GB do not hold the image: {MIN_DISK_GB} do"


def gcp_account_problems(config: Config) -> Iterator[str]:
    """Whether each node has a service account, and workers another one than the head."""
    emails = {}
    for name, node, _gpu in node_configs(config):
        accounts = node.get("serviceAccounts", [])
        emails[name] = accounts[0].get("email") if accounts else None
        if not accounts:
            yield f"{name}/serviceAccounts: are missing, so the node reads neither bucket nor registry"
        elif "https://www.googleapis.com/auth/cloud-platform" not in accounts[0].get("scopes", []):
            yield f"{name}/serviceAccounts: lack the scope cloud-platform, without which their roles do nothing"
    head = emails[config["head_node_type"]]
    shared = [name for name in workers(config) if emails[name] and emails[name] == head]
    yield from (f"{name}/serviceAccounts: are the head's, which may start machines" for name in shared)


CLOUDS: dict[str, Callable[[Config], Iterator[str]]] = {"aws": aws_problems, "gcp": gcp_problems}


def problems(config: Config) -> list[str]:
    """All that is wrong with a launcher's file; placeholders are another matter.

    Raises:
        ValueError: it is for a cloud that is not known here.
    """
    kind = config["provider"]["type"]
    if kind not in CLOUDS:
        raise ValueError(f"provider/type: {kind!r} is not known here: {' or '.join(CLOUDS)} is")
    refused = list(schema_problems(config))
    return refused or [problem for rule in (*COMMON, CLOUDS[kind]) for problem in rule(config)]
