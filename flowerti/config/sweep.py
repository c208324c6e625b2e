"""Settings of the experiment that decides what to do with synthetic images.

This module knows nothing about torch, Ray or how a stage works.
"""

from dataclasses import dataclass

from flowerti.config.checks import check_kinds, require


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepConfig:
    """The experiment that decides how many synthetic images to use."""

    ratios: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """Synthetic images of a weak class as multiples of its real count; ratio 0 is always run."""
    free_arms: tuple[str, ...] = ("real", "balanced", "balanced_softmax", "augmented")
    """Controls without synthetic images; real is the baseline."""
    num_seeds: int = 5
    """Paired repetitions of every arm."""
    num_bootstrap: int = 2000
    """Resamples of seeds and images behind an interval."""
    max_rest_drop: float = 0.01
    """Mean F1 that the other classes may lose before a ratio is refused, in [0, 1]."""
    max_concurrent_trials: int = 0
    """Trials at once; 0 lets the cluster's resources decide."""
    negative_control: bool = True
    """Also give every weak class the images of another weak class's token; needs two weak classes."""
    on_best_control: bool = True
    """Also add token images on top of the control without images that does best on validation."""
    replace_probabilities: tuple[float, ...] = ()
    """Probabilities, in (0, 1], with which a weak class's real images give way to token images; may be empty."""
    synthetic_weight: float = 1.0
    """Loss weight of a synthetic image; a real one has 1."""
    synthetic_smoothing: float = 0.0
    """Soft labels: share of a synthetic image's target mass spread evenly over all classes, in [0, 1)."""
    refit_epochs: int = 0
    """Second stage of every arm: passes over real images, classes equally often, in which the head alone learns."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, "sweep.")
        require(len(self.ratios) > 0 and min(self.ratios) > 0, "sweep.ratios", "must be positive numbers")
        require(len(set(self.ratios)) == len(self.ratios), "sweep.ratios", "names a ratio twice")
        require("real" in self.free_arms, "sweep.free_arms", "must contain 'real', the baseline")
        require(self.num_seeds >= 1, "sweep.num_seeds", "must be at least 1")
        require(self.num_bootstrap >= 100, "sweep.num_bootstrap", "must be at least 100")
        require(0 <= self.max_rest_drop <= 1, "sweep.max_rest_drop", "must lie in [0, 1]")
        shares = self.replace_probabilities
        require(all(0 < p <= 1 for p in shares), "sweep.replace_probabilities", "must lie in (0, 1]")
        require(len(set(shares)) == len(shares), "sweep.replace_probabilities", "names a probability twice")
        require(self.refit_epochs >= 0, "sweep.refit_epochs", "must not be negative")
        require(self.synthetic_weight > 0, "sweep.synthetic_weight", "must be positive")
        require(0 <= self.synthetic_smoothing < 1, "sweep.synthetic_smoothing", "must lie in [0, 1)")
        require(self.max_concurrent_trials >= 0, "sweep.max_concurrent_trials", "must not be negative")
