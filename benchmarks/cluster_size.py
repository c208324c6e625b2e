"""How much the cluster's benchmark measures, and for which classes.

This module knows neither Ray nor what is timed.
"""

from dataclasses import dataclass
from typing import Any

from flowerti.artifacts.records import SelectedClass, Selection
from flowerti.study import Study

NUM_CLASSES, NUM_WORKERS = 3, 2
Measured = tuple[dict[str, dict[str, float]], dict[str, Any]]
"""Ratios and details."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much is measured."""

    num_pairs: int
    """At least 2: an interval needs them."""
    num_steps: int
    """Of the inversion, per class."""
    weights_mib: int
    num_shards: int
    """Of images, drawn beyond those that only warm up."""
    num_features: int
    """Images whose features are computed, beyond the eighth of them that only warms up."""


QUICK = Size(num_pairs=2, num_steps=60, weights_mib=128, num_shards=8, num_features=4096)
FULL = Size(num_pairs=5, num_steps=200, weights_mib=2048, num_shards=16, num_features=4096)
TINY = Size(num_pairs=2, num_steps=2, weights_mib=32, num_shards=1, num_features=64)


def some_classes(study: Study) -> Selection:
    """The classes with fewest training images."""
    counts = sorted(study.census.counts, key=lambda count: count.num_train)[:NUM_CLASSES]
    chosen = [
        SelectedClass(class_name=c.class_name, num_train=c.num_train, f1_validation=0.0, reason="") for c in counts
    ]
    return Selection(selected=chosen, by_evidence=[])
