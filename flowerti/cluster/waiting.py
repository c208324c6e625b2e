"""Says what a run waits for: workers that it asked Ray for, and that no node can hold yet.

Work that no node can ever hold is refused before (`resources`); here a cluster that is full or still growing is told
apart from one that hangs. This module does not know the stages; Ray's own record of open demands covers actors,
tasks and the trials' placement groups alike.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flowerti.cluster.resources import Resources, describe, needs_of
from flowerti.config.experiment import ClusterConfig

_LOOK_EVERY_S = 2.0
_PATIENCE_S = 6.0
"""A worker is placed some seconds after it was asked for, on a free cluster as well."""
_FIRST_REPEAT_S = 60.0
"""Until the same wait is told again; twice as long after each time."""
_ASK_TIMEOUT_S = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterLoad:
    """What a cluster has, and what is asked of it."""

    total: Mapping[str, float]
    free: Mapping[str, float]
    num_nodes_starting: int
    demands: Mapping[tuple[tuple[str, float], ...], int]
    """How many workers wait for an amount of each resource, given in the order of names."""


@dataclass(kw_only=True, slots=True)
class Waits:
    """What was waited for at the last look, so that only waits that last are told."""

    kinds: list[Resources]
    """What the run's workers ask for; other demands are those of others."""
    _tell_at: dict[int, float] = field(default_factory=dict)
    _counts: dict[int, int] = field(default_factory=dict)
    _repeats_s: dict[int, float] = field(default_factory=dict)

    def look(self, load: ClusterLoad, now_s: float) -> list[str]:
        """The waits that are to be told now, a sentence each."""
        told = []
        for kind, needs in enumerate(self.kinds):
            count = sum(num for asked, num in load.demands.items() if _is_same(dict(asked), needs))
            if not count:
                self._tell_at.pop(kind, None)
                self._repeats_s.pop(kind, None)
            elif kind not in self._tell_at or count < self._counts[kind]:
                # new, or one of them was just placed
                self._tell_at[kind] = max(now_s + _PATIENCE_S, self._tell_at.get(kind, 0.0))
            elif now_s >= self._tell_at[kind]:
                repeat_s = self._repeats_s.get(kind, _FIRST_REPEAT_S)
                self._tell_at[kind], self._repeats_s[kind] = now_s + repeat_s, 2 * repeat_s
                told.append(sentence(needs, count, load))
            self._counts[kind] = count
        return told


def sentence(needs: Resources, count: int, load: ClusterLoad) -> str:
    """What is waited for, and what the cluster has of it."""
    free = describe({name: load.free.get(name, 0.0) for name in needs})
    total = describe({name: load.total.get(name, 0.0) for name in needs})
    growing = f"; nodes starting: {load.num_nodes_starting}" if load.num_nodes_starting else ""
    return f"waiting for {describe(needs)} per worker: {count} asked for, {free} free; the cluster has {total}{growing}"


def _is_same(asked: Resources, needs: Resources) -> bool:
    return asked.keys() == needs.keys() and all(math.isclose(asked[n], needs[n], rel_tol=1e-3) for n in needs)


def kinds_of(config: ClusterConfig) -> list[Resources]:
    """What a run asks Ray for: its workers, and tasks without a GPU beside them."""
    worker: Resources = needs_of(config)
    without_gpu: Resources = {name: amount for name, amount in worker.items() if name != "GPU"}
    return [worker, without_gpu] if 0 < len(without_gpu) < len(worker) else [worker]


def read_load(gcs_address: str) -> ClusterLoad:
    """What the cluster at an address has and is asked for, as `ray status` would say.

    Raises:
        ray.exceptions.RpcError: it does not answer.
    """
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(gcs_address, timeout=_ASK_TIMEOUT_S)
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
    """While the block runs and is connected to Ray, tell what its workers wait for, from a thread of its own.

    Args:
        config: what a worker asks for.
        tell: takes a sentence, as `Progress.info` does; of whichever stage is at work.
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
        # it may be half imported by the stage's thread
        if not hasattr(ray, "is_initialized") or not ray.is_initialized():
            continue
        try:
            load = read_load(ray.get_runtime_context().gcs_address)
        except (ray.exceptions.RpcError, ray.exceptions.RaySystemError):
            # a head too busy to answer, or a connection that was just closed; the stage itself will tell which
            continue
        for text in waits.look(load, time.monotonic()):
            tell(text)
