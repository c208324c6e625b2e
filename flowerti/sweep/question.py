"""The inputs of the sweep besides the images; this module does not know how they are used."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowerti.config.experiment import ReplicationConfig, SweepConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepQuestion:
    """Classes, image pools and settings of a sweep."""

    config: SweepConfig
    class_names: tuple[str, ...]
    weak_ids: list[int]
    """Class ids of the weak classes: at least one, and not all."""
    num_train: list[int]
    """Real training images of each class; empty where no groups of classes are wanted."""
    pools: Mapping[str, int]
    """Weak classes that have images, by source."""
    run_seed: int
    replication: ReplicationConfig = field(default_factory=ReplicationConfig)
    """How often every arm is repeated, and what its repetitions share."""
