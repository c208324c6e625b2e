"""Settings of the question what could be gained at all, asked before anything is learnt.

This module knows nothing about torch, Ray or how a stage works.
"""

from dataclasses import dataclass

from flowerti.config.checks import check_kinds, require


@dataclass(frozen=True, kw_only=True, slots=True)
class CeilingConfig:
    """A rehearsal with strong classes: cut down to the weak ones' count, their other images are unseen real ones.

    It trains heads on frozen features, and is left out with another `classifier.mode`.
    """

    num_classes: int = 3
    """Rehearsal classes at most, of those with images to spare; 0 leaves the question out."""
    class_names: tuple[str, ...] = ()
    """Rehearsal classes by name; empty takes the ones with the lowest F1."""
    num_draws: int = 8
    """Draws of the images that a rehearsal class keeps; intervals rest on them."""
    num_more: tuple[int, ...] = (1, 2, 5, 10, 20)
    """Unseen real images that are added to each rehearsal class, as far as there are so many."""
    round_trip_probability: float = 0.6
    """Probability with which a real image gives way to its own round trip through the base's autoencoder."""
    goes_on: bool = False
    """Whether to learn and draw also where no more is to be had than the run could detect."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, "ceiling.")
        require(self.num_classes >= 0, "ceiling.num_classes", "must not be negative")
        names = self.class_names
        require(len(set(names)) == len(names), "ceiling.class_names", "names a class twice")
        require(not names or self.num_classes > 0, "ceiling.class_names", "needs ceiling.num_classes above 0")
        require(self.num_draws >= 2, "ceiling.num_draws", "must be at least 2, for an interval rests on them")
        fits = len(self.num_more) > 0 and min(self.num_more) >= 1 and sorted(set(self.num_more)) == list(self.num_more)
        require(fits, "ceiling.num_more", "must be rising numbers of at least 1")
        fits = 0 < self.round_trip_probability <= 1
        require(fits, "ceiling.round_trip_probability", "must lie in (0, 1]")
