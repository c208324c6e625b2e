"""Settings of how sets of images are compared.

This module knows nothing about torch, Ray or how a stage works.
"""

from dataclasses import dataclass

from flowerti.config.checks import check_kinds, require


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringConfig:
    """How sets of images are compared."""

    extractors: tuple[str, ...] = ("efficientnet_lite0",)
    """Feature extractors: efficientnet_lite0, inception (FID weights), clip, dinov2 or a torchvision model's name.

    Verdicts, recognition and the check for copies go by the first one.
    """
    weights: tuple[str, ...] = ()
    """Local weights of each extractor, in their order: a file, for clip and dinov2 a folder; empty for their own."""
    input_sizes_px: tuple[int, ...] = (128,)
    """Side of the square that each extractor sees, in pixels."""
    num_permutations: int = 2000
    """Random relabellings behind a permutation p-value."""
    num_floor_splits: int = 20
    """Random disjoint halves behind a real-against-real floor."""
    num_neighbours: int = 5
    """Neighbours that span the manifold of precision, recall, density and coverage."""
    num_closest_pairs: int = 20
    """Pairs of synthetic and nearest training images that are listed for each set."""

    def __post_init__(self) -> None:
        """Check ranges, and that the lists fit together."""
        check_kinds(self, "scoring.")
        require(len(self.extractors) > 0, "scoring.extractors", "is empty: name at least one")
        require(len(set(self.extractors)) == len(self.extractors), "scoring.extractors", "names one twice")
        num = len(self.extractors)
        require(len(self.weights) in (0, num), "scoring.weights", f"must name none or {num} files, one an extractor")
        require(len(self.input_sizes_px) == num, "scoring.input_sizes_px", f"must hold {num} sizes, one an extractor")
        require(min(self.input_sizes_px) >= 1, "scoring.input_sizes_px", "must be at least 1")
        for name in ("num_floor_splits", "num_neighbours", "num_closest_pairs"):
            require(getattr(self, name) >= 1, f"scoring.{name}", "must be at least 1")
        require(self.num_permutations >= 99, "scoring.num_permutations", "must be at least 99")
