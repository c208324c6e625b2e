"""Settings of the experiment that decides what to do with synthetic images.

This module knows nothing about torch, Ray or how a stage works.
"""

from dataclasses import dataclass

from flowerti.config.checks import check_kinds, require
from flowerti.tables.arms import ARMS, BASELINE, Mass


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepConfig:
    """The experiment that decides how many synthetic images to use."""

    mixing: tuple[Mass, ...] = ("fixed",)
    """How synthetic images are mixed in: "fixed", each in place of a real one, so that a class keeps its share of the
    batches; "added" to the real ones, which raises it. With both, the recommendation is about the fixed one."""
    replace_probabilities: tuple[float, ...] = (0.3, 0.6)
    """At fixed mass: probabilities, in (0, 1], with which a weak class's real images give way to synthetic ones. Of
    arms with two stages: shares of the steps that are the first."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """Added: synthetic images of a weak class as multiples of its real count."""
    free_arms: tuple[str, ...] = (
        "real",
        "balanced",
        "balanced_softmax",
        "augmented",
        "balanced_augmented",
        "balanced_softmax_augmented",
    )
    """Controls without synthetic images (rows of `tables.arms`); real is the baseline."""
    extra_arms: tuple[str, ...] = ()
    """Further rows of `tables.arms` to run, each at its own level: once, at all ratios, or at the probabilities."""
    learning_rate_factors: tuple[float, ...] = (1.0, 3.0, 10.0)
    """Multiples of classifier.learning_rate that every arm is tried at on validation before it is compared."""
    num_bootstrap: int = 2000
    """Resamples of repetitions and images behind an interval."""
    max_rest_drop: float = 0.02
    """Mean F1 that the other classes may lose, in [0, 1]: a ratio is refused unless they are shown to lose no more."""
    equivalence_margin: float = 0.05
    """Difference of mean F1 that does not matter, in (0, 1): an effect shown to be smaller is called equivalent."""
    max_concurrent_trials: int = 0
    """Trials at once; 0 lets the cluster's resources decide."""
    negative_control: bool = True
    """Also give every weak class the judged images of another weak class; needs two weak classes."""
    synthetic_weight: float = 1.0
    """Loss weight of a synthetic image; a real one has 1."""
    synthetic_smoothing: float = 0.0
    """Soft labels: share of a synthetic image's target mass spread evenly over all classes, in [0, 1)."""
    refit_epochs: int = 0
    """Second stage of every arm: passes over real images, classes equally often, in which the head alone learns."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, "sweep.")
        fits = len(set(self.mixing)) == len(self.mixing) and set(self.mixing) <= {"fixed", "added"} and self.mixing
        require(bool(fits), "sweep.mixing", "must name 'fixed', 'added', or each of them once")
        require(len(self.ratios) > 0 and min(self.ratios) > 0, "sweep.ratios", "must be positive numbers")
        require(len(set(self.ratios)) == len(self.ratios), "sweep.ratios", "names a ratio twice")
        self._check_arms()
        factors = self.learning_rate_factors
        require(len(factors) > 0 and min(factors) > 0, "sweep.learning_rate_factors", "must be positive numbers")
        require(len(set(factors)) == len(factors), "sweep.learning_rate_factors", "names a factor twice")
        require(self.num_bootstrap >= 100, "sweep.num_bootstrap", "must be at least 100")
        require(0 <= self.max_rest_drop <= 1, "sweep.max_rest_drop", "must lie in [0, 1]")
        require(0 < self.equivalence_margin < 1, "sweep.equivalence_margin", "must lie in (0, 1)")
        shares = self.replace_probabilities
        is_given = bool(shares) or "fixed" not in self.mixing
        require(is_given, "sweep.replace_probabilities", "is empty: name some, or leave 'fixed' out of sweep.mixing")
        require(all(0 < p <= 1 for p in shares), "sweep.replace_probabilities", "must lie in (0, 1]")
        require(len(set(shares)) == len(shares), "sweep.replace_probabilities", "names a probability twice")
        require(self.refit_epochs >= 0, "sweep.refit_epochs", "must not be negative")
        require(self.synthetic_weight > 0, "sweep.synthetic_weight", "must be positive")
        require(0 <= self.synthetic_smoothing < 1, "sweep.synthetic_smoothing", "must lie in [0, 1)")
        require(self.max_concurrent_trials >= 0, "sweep.max_concurrent_trials", "must not be negative")

    def _check_arms(self) -> None:
        for field_name in ("free_arms", "extra_arms"):
            names = getattr(self, field_name)
            unknown = [name for name in names if name not in ARMS]
            known = ", ".join(ARMS.names)
            problem = f"names unknown {', '.join(unknown)}: choose among {known}"
            require(not unknown, f"sweep.{field_name}", problem)
            require(len(set(names)) == len(names), f"sweep.{field_name}", "names an arm twice")
        require(BASELINE.name in self.free_arms, "sweep.free_arms", f"must contain {BASELINE.name!r}, the baseline")
        for arm in (ARMS[name] for name in self.free_arms):
            require(arm.is_control, "sweep.free_arms", f"names {arm.name}, which is no control: try sweep.extra_arms")
        for arm in (ARMS[name] for name in self.extra_arms):
            problem = f"names {arm.name}, which runs at sweep.replace_probabilities: give some"
            has_levels = arm.level in ("none", "ratio") or bool(self.replace_probabilities)
            require(has_levels, "sweep.extra_arms", problem)
            fits = arm.is_control or (arm.control in ARMS and ARMS[arm.control].treatment == arm.treatment)
            problem = f"names {arm.name}, whose control {arm.control!r} is no arm that treats images as it does"
            require(fits, "sweep.extra_arms", problem)
            problem = f"names {arm.name} without {arm.held_against}, which it is held against: name both"
            require(arm.held_against in ("", *self.extra_arms), "sweep.extra_arms", problem)

    def check_sources(self, sources: tuple[str, ...]) -> None:
        """Refuse extra arms whose images are not drawn.

        Args:
            sources: those that images are drawn of.

        Raises:
            ValueError: an arm needs another one; names it.
        """
        for arm in (ARMS[name] for name in self.extra_arms):
            problem = f"names {arm.name}, which needs {arm.pool!r} in sampling.sources"
            require(not arm.pool or arm.pool in sources, "sweep.extra_arms", problem)

    def check_mode(self, mode: str) -> None:
        """Refuse arms that change features where none are frozen.

        Args:
            mode: of the classifier.

        Raises:
            ValueError: an arm needs mode "head"; names it.
        """
        for field_name in ("free_arms", "extra_arms"):
            for name in getattr(self, field_name):
                problem = f"names {name}, which changes frozen features: it needs classifier.mode 'head', not {mode!r}"
                require(mode == "head" or not ARMS[name].features, f"sweep.{field_name}", problem)

    def trains_with(self, source: str) -> bool:
        """Whether images of a source are trained with in an extra arm, if not in one of its own."""
        return any(ARMS[name].source == source for name in self.extra_arms)

    @property
    def takes_ratios(self) -> bool:
        """Whether an arm adds as many drawn images as `ratios` say."""
        extra = [ARMS[name] for name in self.extra_arms]
        return "added" in self.mixing or any(bool(arm.pool) and arm.level == "ratio" for arm in extra)

    @property
    def judged_mass(self) -> Mass:
        """The kind of mixing that the recommendation is about."""
        return "fixed" if "fixed" in self.mixing else "added"
