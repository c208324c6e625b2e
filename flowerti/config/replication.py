"""Settings of how often each step between a data set and a trial is repeated, one nested in the other.

This module knows nothing about torch, Ray or how a step works.
"""

from dataclasses import dataclass

from flowerti.config.checks import check_kinds, require


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicationConfig:
    """Draws of training images, learnings in each, pools of images of each, classifier seeds on each pool."""

    num_draws: int = 1
    """Draws of the weak classes' training images; more than one need images that `imbalance` leaves out."""
    num_learnings: int = 4
    """Times that each technique learns a weak class, each with a seed of its own."""
    num_pools: int = 1
    """Parts that do not overlap, into which the images of each source are divided."""
    num_seeds: int = 1
    """Classifier seeds on each pool."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, "replication.")
        for name in ("num_draws", "num_learnings", "num_pools", "num_seeds"):
            require(getattr(self, name) >= 1, f"replication.{name}", "must be at least 1")

    @property
    def num_learnings_in_all(self) -> int:
        """Learnings of a class, in all draws."""
        return self.num_draws * self.num_learnings

    def draw_of(self, learning: int) -> int:
        """The draw of training images that a learning uses; draws follow one another."""
        return learning // self.num_learnings

    @property
    def num_repetitions(self) -> int:
        """Trials of each arm at each ratio."""
        return self.num_learnings_in_all * self.num_pools * self.num_seeds
