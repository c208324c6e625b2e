"""What this project uses of Ray that Ray does not promise to keep: listed once, and called from here alone.

A minor version of Ray may change any of it, so pyproject.toml takes the tested minor and no other;
`tests/cluster/test_ray_internals.py` holds the list against the code and against the installed Ray. Nothing here knows
what its callers do with the answers.
"""

from collections.abc import Mapping
from typing import Any

PRIVATE = (
    "ray._private.state:state.get_max_resources_from_cluster_config",
    "ray._raylet:GcsClient",
    "ray._raylet:InnerGcsClient.get_cluster_status",
    "ray.autoscaler.v2.sdk:get_cluster_status",
    "ray.core.generated.autoscaler_pb2:GetClusterStatusReply.FromString",
)
"""Module and name of each. Ray Data itself calls the first; the others are behind `ray status`, and Ray has no public
interface for what they tell."""


def max_resources() -> Mapping[str, float] | None:
    """Upper limit of each resource in the autoscaler's config; None where it publishes none."""
    from ray._private.state import state

    return state.get_max_resources_from_cluster_config()


def autoscaler_state(gcs_address: str, timeout_s: int) -> Any:
    """The last state that the autoscaler reported to the head; its version is 0 without an autoscaler.

    Args:
        gcs_address: the head's address.
        timeout_s: how long to wait for an answer.

    Raises:
        ray.exceptions.RpcError: the cluster does not respond.
    """
    import ray._raylet
    from ray.core.generated import autoscaler_pb2

    # generated when Ray is built: opaque to the type checker
    core: Any = ray._raylet
    messages: Any = autoscaler_pb2
    content = core.GcsClient(address=gcs_address).get_cluster_status(timeout_s=timeout_s)
    return messages.GetClusterStatusReply.FromString(content).autoscaling_state


def cluster_status(gcs_address: str, timeout_s: int) -> Any:
    """Nodes, usage and pending demands of a cluster, as `ray status` shows them.

    Args:
        gcs_address: the head's address.
        timeout_s: how long to wait for an answer.

    Raises:
        ray.exceptions.RpcError: the cluster does not respond.
    """
    from ray.autoscaler.v2.sdk import get_cluster_status

    return get_cluster_status(gcs_address, timeout=timeout_s)
