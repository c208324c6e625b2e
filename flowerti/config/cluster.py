"""Settings of where the work runs.

This module knows nothing about torch, Ray or how a stage works.
"""

from dataclasses import dataclass
from typing import Literal

from flowerti.config.checks import check_kinds, require


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterConfig:
    """Where the work runs; none changes a number, except threads and processes of a classifier in the last digits."""

    address: str = "local"
    """"local" starts Ray on this machine; "auto" joins the cluster that this job was submitted to."""
    num_workers: int = 2
    """Actors of a stage at once."""
    num_cpus_per_worker: float = 1.0
    """CPUs that an actor asks Ray for."""
    num_gpus_per_worker: float = 0.0
    """GPUs that an actor asks Ray for; fractions share a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where an actor's networks lie; auto: on a GPU where actors ask for one."""
    num_threads_per_worker: int = 1
    """Threads of an actor; fixed, because kernels round differently at another count."""
    classes_per_actor: int = 1
    """Classes, or learnings of a class, that one inversion actor learns in one batch at most: each costs less the more
    there are, as far as memory goes. Fewer where an actor would have none otherwise."""
    num_workers_per_classifier: int = 1
    """Workers that fine-tune the first classifier together, each on its share of every batch."""
    max_retries_per_class: int = 3
    """New attempts at a class, or at one of its learnings, whose actor or node was lost."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, "cluster.")
        for name in ("num_workers", "num_threads_per_worker", "classes_per_actor", "num_workers_per_classifier"):
            require(getattr(self, name) >= 1, f"cluster.{name}", "must be at least 1")
        require(self.num_cpus_per_worker > 0, "cluster.num_cpus_per_worker", "must be positive")
        require(self.num_gpus_per_worker >= 0, "cluster.num_gpus_per_worker", "must not be negative")
        require(
            self.num_gpus_per_worker <= 1 or float(self.num_gpus_per_worker).is_integer(),
            "cluster.num_gpus_per_worker",
            "must be a fraction of one GPU or a whole number",
        )
        require(self.max_retries_per_class >= 0, "cluster.max_retries_per_class", "must not be negative")
        shared = self.num_workers_per_classifier
        name = "cluster.num_workers_per_classifier"
        require(shared <= self.num_workers, name, f"must be at most cluster.num_workers, which is {self.num_workers}")
        has_own = shared == 1 or self.num_gpus_per_worker == 0 or self.num_gpus_per_worker >= 1
        require(has_own, name, "needs a whole GPU for each worker, or none: set cluster.num_gpus_per_worker to 1 or 0")


def group_size(most: int, num_tasks: int, num_workers: int) -> int:
    """How many tasks share an actor's batch: at most `most`, and no more than leave work for every worker."""
    return max(1, min(most, -(-num_tasks // num_workers)))
