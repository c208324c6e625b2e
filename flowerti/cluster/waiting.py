"""Reports the workers that a run has requested from Ray and that no node has capacity for yet.

Work that no node can ever run is rejected earlier (`resources`). These messages let a user distinguish a cluster that
is busy or still scaling up from one that hangs. This module does not know the stages: Ray's record of pending demands
covers actors, tasks and the placement groups of trials alike.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flowerti.cluster.ray_internals import cluster_status
from flowerti.cluster.resources import Resources, describe, needs_of
from flowerti.config.experiment import ClusterConfig

_LOOK_EVERY_S = 2.0
_PATIENCE_S = 6.0
"""Scheduling a worker takes a few seconds even on an idle cluster."""
_FIRST_REPEAT_S = 60.0
"""Delay before the same wait is reported again; doubles after each report."""
_ASK_TIMEOUT_S = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterLoad:
    """Total and free resources of a cluster, and its pending demands."""

    total: Mapping[str, float]
    free: Mapping[str, float]
    num_nodes_starting: int
    demands: Mapping[tuple[tuple[str, float], ...], int]
    """Number of pending workers by their request, a tuple of (resource, amount) sorted by resource."""


@dataclass(kw_only=True, slots=True)
class Waits:
    """The demands that were pending at the last check, so that only persistent ones are reported."""

    kinds: list[Resources]
    """The requests of this run's workers; any other demand belongs to another job."""
    _tell_at: dict[int, float] = field(default_factory=dict)
    _counts: dict[int, int] = field(default_factory=dict)
    _repeats_s: dict[int, float] = field(default_factory=dict)

    def look(self, load: ClusterLoad, now_s: float) -> list[str]:
        """The waits to report now, one sentence each."""
        due = []
        for kind, needs in enumerate(self.kinds):
            count = sum(num for asked, num in load.demands.items() if _is_same(dict(asked), needs))
            if not count:
                self._tell_at.pop(kind, None)
                self._repeats_s.pop(kind, None)
            elif kind not in self._tell_at or count < self._counts[kind]:
                # new, or one of them has just been scheduled
                self._tell_at[kind] = max(now_s + _PATIENCE_S, self._tell_at.get(kind, 0.0))
            elif now_s >= self._tell_at[kind]:
                repeat_s = self._repeats_s.get(kind, _FIRST_REPEAT_S)
                self._tell_at[kind], self._repeats_s[kind] = now_s + repeat_s, 2 * repeat_s
                due.append(sentence(needs, count, load))
            self._counts[kind] = count
        return due


def sentence(needs: Resources, count: int, load: ClusterLoad) -> str:
    """Describe a pending request and how much of it the cluster has."""
    free = describe({name: load.free.get(name, 0.0) for name in needs})
    total = describe({name: load.total.get(name, 0.0) for name in needs})
    growing = f"; nodes starting: {load.num_nodes_starting}" if load.num_nodes_starting else ""
    return f"waiting for {describe(needs)} per worker: {count} asked for, {free} free; the cluster has {total}{growing}"


def _is_same(asked: Resources, needs: Resources) -> bool:
    return asked.keys() == needs.keys() and all(math.isclose(asked[n], needs[n], rel_tol=1e-3) for n in needs)


def kinds_of(config: ClusterConfig) -> list[Resources]:
    """The resource requests of a run: its workers, and its tasks that need no GPU."""
    worker: Resources = needs_of(config)
    without_gpu: Resources = {name: amount for name, amount in worker.items() if name != "GPU"}
    return [worker, without_gpu] if 0 < len(without_gpu) < len(worker) else [worker]


def read_load(gcs_address: str) -> ClusterLoad:
    """Resources and pending demands of the cluster at an address, as shown by `ray status`.

    Raises:
        ray.exceptions.RpcError: the cluster does not respond.
    """
    status = cluster_status(gcs_address, _ASK_TIMEOUT_S)
    asked = status.resource_demands
    demands: dict[tuple[tuple[str, float], ...], int] = {}
    groups: list[Any] = [*asked.ray_task_actor_demand, *asked.placement_group_demand]
    for bundle in (bundle for group in groups for bundle in group.bundles_by_count):
        resources = tuple(sorted((name, amount) for name, amount in bundle.bundle.items() if name in ("CPU", "GPU")))
        demands[resources] = demands.get(resources, 0) + bundle.count
    usage = status.cluster_resource_usage
    return ClusterLoad(
        total={resource.resource_name: resource.total for resource in usage},
        free={resource.resource_name: resource.total - resource.used for resource in usage},
        num_nodes_starting=len(status.pending_nodes) + sum(launch.count for launch in status.pending_launches),
        demands=demands,
    )


@contextmanager
def waits_told(config: ClusterConfig, tell: Callable[[str], None]) -> Iterator[None]:
    """Report pending workers from a background thread while the block runs and is connected to Ray.

    Args:
        config: the resources that a worker requests.
        tell: receives each sentence, like `Progress.info` of the stage that is running.
    """
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(Waits(kinds=kinds_of(config)), tell, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(waits: Waits, tell: Callable[[str], None], done: threading.Event) -> None:
    while not done.wait(_LOOK_EVERY_S):
        ray: Any = sys.modules.get("ray")
        # the stage's thread may still be importing it
        if not hasattr(ray, "is_initialized") or not ray.is_initialized():
            continue
        try:
            load = read_load(ray.get_runtime_context().gcs_address)
        except (ray.exceptions.RpcError, ray.exceptions.RaySystemError):
            # the head is overloaded, or the connection has just been closed; in the latter case the stage itself raises
            continue
        for text in waits.look(load, time.monotonic()):
            tell(text)
