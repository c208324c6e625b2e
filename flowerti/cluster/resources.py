"""Whether the cluster can hold a stage's workers.

A node is a dictionary of its resources, as reported by Ray. A cluster with autoscaling may add a suitable node later,
so it is judged by the limits in its config or, where these are unknown, by its autoscaler's response to a first
demand. This module starts no other work.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flowerti.cluster.ray_internals import autoscaler_state, max_resources
from flowerti.config.experiment import ClusterConfig

Resources = Mapping[str, float | int]
_ASK_TIMEOUT_S = 10
_LARGE_BYTES = 2**30
_ANSWER_WITHIN_S = 15.0
"""The autoscaler evaluates demands every five seconds."""


def needs_of(config: ClusterConfig) -> Resources:
    """Resources that one worker requests from Ray."""
    needs = {"CPU": config.num_cpus_per_worker, "GPU": config.num_gpus_per_worker}
    return {name: amount for name, amount in needs.items() if amount > 0}


def slots(needs: Resources, node: Resources) -> int:
    """Number of workers that fit on a node at once; a fractional GPU is never split across two GPUs."""
    counts = []
    for name, amount in needs.items():
        has = node.get(name, 0.0)
        if name == "GPU" and amount < 1:
            counts.append(int(has) * int(1 / amount + 1e-9))
        else:
            counts.append(int(has / amount + 1e-9))
    return min(counts)


def describe(resources: Resources) -> str:
    """Format resources as text, for example "1 CPU and 0.5 GPU"."""
    return " and ".join(f"{amount:g} {name}" for name, amount in resources.items())


def check_fit(config: ClusterConfig, nodes: Sequence[Resources], growth: Resources | None) -> None:
    """Reject workers that fit on no node, and a classifier's group of workers that never fits all at once.

    Args:
        config: resources that a worker requests.
        nodes: total resources of the existing nodes.
        growth: upper limit of each resource in the cluster's config; None without autoscaling.

    Raises:
        ValueError: a worker would wait forever; states its request and the resources of the cluster.
    """
    needs = needs_of(config)
    if any(slots(needs, node) for node in nodes):
        _check_together(config, nodes, growth)
        return
    if growth is not None and all(growth.get(name, 0.0) >= amount for name, amount in needs.items()):
        _check_together(config, nodes, growth)
        return
    lacking = [name for name, amount in needs.items() if not any(node.get(name, 0.0) >= amount for node in nodes)]
    name = f"num_{lacking[0].lower()}s_per_worker" if lacking else "num_cpus_per_worker"
    raise ValueError(
        f"cluster.{name}: a worker asks for {describe(needs)}, and no node of the cluster can hold that "
        f"({_inventory(nodes)}): ask for less, or add such nodes"
    )


def _check_together(config: ClusterConfig, nodes: Sequence[Resources], growth: Resources | None) -> None:
    """Workers of one distributed training must all run at the same time; other workers can run one after another."""
    needs, num = needs_of(config), config.num_workers_per_classifier
    num_slots = sum(slots(needs, node) for node in nodes)
    num_later = 0 if growth is None else slots(needs, growth)
    if num > max(1, num_slots, num_later):
        raise ValueError(
            f"cluster.num_workers_per_classifier: {num} workers with {describe(needs)} each are to train together, the "
            f"cluster holds {max(num_slots, num_later)} at once ({_inventory(nodes)}): ask for fewer, or add nodes"
        )


def _inventory(nodes: Sequence[Resources]) -> str:
    if not nodes:
        return "it has no nodes"
    counts = [", ".join(f"{node.get(name, 0.0):g} {name}" for name in ("CPU", "GPU")) for node in nodes]
    shown = [f"{counts.count(text)} x ({text})" for text in dict.fromkeys(counts)]
    return "it has " + "; ".join(shown[:5])


def check_local_fit(config: ClusterConfig, num_gpus: int, num_cpus: int) -> None:
    """Reject a local session with too few GPUs for its workers, or too few CPUs for a distributed training.

    Other workers may outnumber the CPUs, because they can share them.

    Raises:
        ValueError: there are too few GPUs for one worker or for all of them at once, or too few CPUs for a classifier's
            workers.
    """
    together = config.num_workers_per_classifier
    if together > 1 and together * config.num_cpus_per_worker > num_cpus:
        raise ValueError(
            f"cluster.num_workers_per_classifier: {together} workers with {config.num_cpus_per_worker:g} CPU each do "
            f"not fit on this machine's {num_cpus}: lower it, or join a cluster with cluster.address auto"
        )
    asked = config.num_gpus_per_worker
    if asked > num_gpus:
        raise ValueError(
            f"cluster.num_gpus_per_worker: {asked:g} asked for, this machine has {num_gpus}: "
            "set it to 0, or join a cluster with cluster.address auto"
        )
    if asked and (num_slots := slots({"GPU": asked}, {"GPU": num_gpus})) < config.num_workers:
        raise ValueError(
            f"cluster.num_workers: {config.num_workers} workers with {asked:g} GPU each do not fit on this machine's "
            f"{num_gpus}, {num_slots} do: lower it, or cluster.num_gpus_per_worker"
        )


def memory_for(num_bytes: int) -> int | None:
    """Memory that a task should ask Ray for, so that two large ones never share a node that holds one.

    Never more than the largest node has: such a task would wait forever, and its estimate may be too high.

    Args:
        num_bytes: what the task is going to hold.

    Returns:
        None for a task that is too small to matter.
    """
    if num_bytes < _LARGE_BYTES:
        return None
    return int(min(num_bytes, max((node.get("memory", 0) for node in cluster_nodes()), default=0))) or None


def cluster_nodes() -> list[Resources]:
    """Total resources of each live node of the cluster that this process is connected to."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def cluster_growth() -> Resources | None:
    """Upper limit of each resource that the cluster may scale up to; None without an autoscaler.

    Infinite where the autoscaler does not publish its limits, as Ray's own does not: see `check_startable`.
    """
    known = max_resources()
    if known is None and _autoscaler().autoscaler_state_version > 0:
        return {"CPU": math.inf, "GPU": math.inf}
    return known


def check_startable(config: ClusterConfig) -> None:
    """If no existing node can hold a worker, request one from the autoscaler and reject what it can never start.

    Raises:
        ValueError: no node type of the cluster can hold a worker.
    """
    import ray

    needs = needs_of(config)
    if any(slots(needs, node) for node in cluster_nodes()):
        return
    demand: Any = (
        ray.remote(_nothing).options(num_cpus=config.num_cpus_per_worker, num_gpus=config.num_gpus_per_worker).remote()
    )
    try:
        deadline = time.monotonic() + _ANSWER_WITHIN_S
        # if the autoscaler does not respond in time, the stage waits, and `waiting` reports that
        while not ray.wait([demand], timeout=0.5)[0] and time.monotonic() < deadline:
            answer = _autoscaler()
            if any(_is_asked(dict(r.resources_bundle), needs) for r in answer.infeasible_resource_requests):
                raise ValueError(
                    f"cluster.num_gpus_per_worker: a worker asks for {describe(needs)}, and no kind of node that the "
                    "cluster may start holds that: ask for less, or add such a node type to the cluster's config"
                )
            if len(answer.pending_instance_requests) + len(answer.pending_instances) > 0:
                return
    finally:
        ray.cancel(demand, force=True)


def _nothing() -> None:
    pass


def _is_asked(asked: Mapping[str, float], needs: Resources) -> bool:
    return all(math.isclose(asked.get(name, 0.0), amount, rel_tol=1e-3) for name, amount in needs.items())


def _autoscaler() -> Any:
    """The last state that the autoscaler reported to the head; its version is 0 without an autoscaler."""
    import ray

    return autoscaler_state(ray.get_runtime_context().gcs_address, _ASK_TIMEOUT_S)
