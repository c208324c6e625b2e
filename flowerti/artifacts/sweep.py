"""What the sweep leaves behind besides its rows: single classes, groups of classes, contrasts, ratios and costs.

This module does not know how anything is computed.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Answer = Literal["helps", "harms", "equivalent", "undecided"]
"""Of a difference: its interval lies above 0, or below; it is shown to be smaller than a margin; or neither."""
ActionName = Literal["use_generated", "use_name", "use_control", "nothing_helped", "undecided"]
"""What to do: train with generated images, with those of a plain prompt, or with a free control; nothing, because
nothing gains more than a margin; nothing yet, because this run cannot tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepClassRow:
    """One weak class under an arm at a ratio, over all repetitions."""

    split: str
    arm: str
    ratio: float
    class_name: str
    num_images: int
    """Real images of the class in the split."""
    recall: float
    """Mean over repetitions, in [0, 1]."""
    recall_low: float
    """Lower end of the 95 % Wilson interval over the class's images."""
    recall_high: float
    f1: float
    gain: float
    """Mean paired difference of the class's F1 to the baseline."""
    gain_low: float
    gain_high: float
    gain_p: float
    """One-sided p-value of "no gain"."""
    holm_p: float
    """The same, adjusted over all weak classes and ratios of the arm."""
    answer: Answer
    """Of the gain; undecided where the class has too few images for any other answer."""
    detectable_effect: float
    """As in `SweepContrast`, for the gain."""
    content_gain: float = 0.0
    """Mean paired difference of its F1 to the arm that shows real images again at the same ratio; 0 without one."""
    content_gain_p: float = 1.0
    """One-sided p-value of "no better than its real images shown again"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepGroupRow:
    """Many-, medium- or few-shot classes (above 100, 20 to 100, below 20 training images) under an arm at a ratio."""

    split: str
    arm: str
    ratio: float
    group: str
    """many, medium or few."""
    num_classes: int
    f1: float
    """Mean over the group's classes and all repetitions, in [0, 1]."""
    f1_low: float
    f1_high: float
    gain: float
    """Mean paired difference to the baseline."""
    gain_low: float
    gain_high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepContrast:
    """Mean F1 of the weak classes under one arm minus that under another, paired by repetition and image."""

    split: str
    arm: str
    ratio: float
    against_arm: str
    against_ratio: float
    difference: float
    low: float
    high: float
    p: float
    """One-sided p-value of "the first arm is not better"."""
    answer: Answer
    detectable_effect: float
    """The smallest true difference that would be found in four of five runs like this one (one-sided test at 5 %)."""
    primary: bool = False
    """The one contrast that was stated before the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VarianceComponent:
    """How much one step between the data set and a trial changes the result when it is repeated."""

    level: str
    """The step; with those that are repeated together with it, after commas."""
    num_units: int
    """Of the step, over all repetitions."""
    freedom: int
    """Degrees of freedom of its mean square."""
    std: float
    """Standard deviation of the judged images' gain between repetitions of the step; 0 where it is hidden by others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replication:
    """How often each step was repeated, and what that says about the intervals."""

    num_draws: int
    num_learnings: int
    num_pools: int
    num_seeds: int
    outermost_step: str
    """The outermost step that is repeated; intervals rest on the means of its repetitions."""
    num_units: int
    conditional_on: list[str]
    """What all repetitions share, so that no interval knows how much another one of it would change."""
    components: list[VarianceComponent]
    """Of the judged images' gain over real images, at the ratio shown on test."""
    components_split: str
    """The split of these gains: test, or validation where the trials on test failed; empty without any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRatio:
    """The ratio that a single weak class has evidence for; 0 without."""

    class_name: str
    ratio: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The best action: chosen on validation, with its gain over real images alone on test."""

    action: ActionName
    arm: str
    """The arm to train with; where none is to be used, the judged one."""
    ratio: float
    """Its ratio; 0 for a control."""
    reason: str
    split: str
    """Of the numbers below: test, or validation where the arm could not be run on test."""
    before: float
    """Weak F1 with real images alone."""
    after: float
    """Weak F1 under the arm."""
    gain: float
    low: float
    high: float
    detectable_effect: float
    """As in `SweepContrast`."""
    answer: Answer
    """Whether the test split confirms it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmCost:
    """What an arm's images cost, and what it gained for it; trials cost every arm the same and are left out."""

    split: str
    arm: str
    ratio: float
    hours: float
    """GPU-hours, or CPU-hours where no GPU was held."""
    unit: str
    """"GPU-hour" or "CPU-hour"."""
    weak_gain: float
    gain_per_hour: float | None
    """None for an arm without cost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepCosts:
    """Costs of all arms; apart from the table, which must not depend on a clock."""

    arms: list[ArmCost]


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepIntent:
    """The plan: everything that the sweep's answer depends on, stated before its first trial."""

    primary_contrast: str
    arms: list[str]
    ratios: list[float]
    replication: dict[str, int]
    """Draws, learnings, pools and seeds."""
    run_seed: int
    weak_classes: list[str]
    rule: str
    """What the rule of the recommendation is called."""
    alpha: float
    """Error rate that the rule allows, in (0, 1)."""
    max_rest_drop: float
    num_trials_validation: int
    """Of the first round."""
    settings: dict[str, Any]
    """All other settings of the sweep that a number depends on."""
    classifier: dict[str, Any] = field(default_factory=dict)
    """Settings of the classifier."""
    data_fingerprint: str = ""
    base_sha256: str = ""
    images_sha256: str = ""
    """Over the keys and curation weights of all sets of synthetic images."""
    version: str = ""
    """Of this package."""
