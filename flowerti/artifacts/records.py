"""What passes between stages, as typed records.

This module does not know how anything is computed, nor where a run directory lies (`run_directory` does).
"""

from dataclasses import dataclass, field

from flowerti.artifacts.learned import ConceptNeighbour as ConceptNeighbour
from flowerti.artifacts.learned import Learned as Learned
from flowerti.artifacts.learned import LossPoint as LossPoint
from flowerti.artifacts.learned import Neighbour as Neighbour
from flowerti.artifacts.sweep import ClassRatio, Replication, SweepClassRow, SweepContrast, SweepGroupRow, Verdict
from flowerti.tables.arms import BASELINE, Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassCount:
    """Images of one class in each split."""

    class_name: str
    num_train: int
    num_validation: int
    num_test: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Census:
    """What the data set holds, after every image was opened once."""

    fingerprint: str
    counts: list[ClassCount]
    train_sha256: dict[str, str]
    """By class: hash over the digests of its training images, in the order of the data set."""
    unreadable: list[str]
    duplicates: list[list[str]]
    """Groups of ids of byte-identical images that straddle splits."""
    notes: list[str] = field(default_factory=list)
    """How the images were found and read, a sentence each: what was left out, which splits were cut, what it took to
    show images as RGB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedBase:
    """A base whose files hold what its configs ask for."""

    sha256: str
    num_tensors: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AlikeImages:
    """Groups of ids of images that are near duplicates of one another, in any split and class."""

    groups: list[list[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenImages:
    """What the base has seen of the data set in its own training."""

    fingerprint: str
    """Of the list of the base's training images."""
    drawn: str
    """Where the base's images are not listed: why none of them can be in a data set. Empty where they are."""
    counts: list[ClassCount]
    """Images that it was trained on, of each class that has any."""
    held_out_ids: list[str] = field(default_factory=list)
    """Those among the validation and test images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitLists:
    """The ids of the images in each split, in order; what is in none was left out by the imbalance."""

    train: list[str]
    validation: list[str]
    test: list[str]
    sha256: str
    """Hash over the three lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScore:
    """How a classifier does on one class."""

    class_name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochScore:
    """One point of the learning curves; accuracies in [0, 1], losses in nats."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierReport:
    """A trained classifier on the validation split."""

    backbone: str
    weights_sha256: str
    accuracy: float
    macro_f1: float
    curves: list[EpochScore]
    classes: list[ClassScore]
    confusion: list[list[int]]
    """Row: true class, column: predicted class, in the order of `classes`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedClass:
    """One weak class and why it was selected."""

    class_name: str
    num_train: int
    f1_validation: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The weak classes, and those that evidence would have picked where the config fixed others."""

    selected: list[SelectedClass]
    by_evidence: list[SelectedClass]
    passed_over: list[SelectedClass] = field(default_factory=list)
    """Weaker classes that the rule left out because the base was trained on their held-out images, and how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """The synthetic images of one class and source, of one learning where each has images of its own."""

    class_name: str
    source: str
    learning: int = 0
    """Which of the class's learnings drew them, from 0; 0 for a source that has the same images for all of them."""
    prompt: str
    num_images: int
    files: list[str]
    """Parquet files in the run directory, in the order of the images."""
    key: str
    """A key of what the images were made from; no hash of their bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One training of the classifier in the sweep."""

    arm: str
    """Its name; what that means stands in the sweep's table."""
    ratio: float
    repetition: int
    """Its index: which learning, pool and seed that is says `sweep.repetitions`."""
    split: str
    """The split that was predicted: validation, or test for the final trials."""
    predictions: list[int]
    num_steps: int
    num_synthetic: int
    learning_rate_factor: float = 1.0
    """Multiple of classifier.learning_rate that it was trained at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepRow:
    """An arm at a ratio, over all repetitions; F1 in [0, 1], 95 % intervals over repetitions and images."""

    split: str
    arm: str
    """Its name, as in `SweepTable.arms`."""
    ratio: float
    """Synthetic images as a multiple of real ones, a probability, or 0, as the arm's level says."""
    num_repetitions: int
    macro_f1: float
    macro_f1_low: float
    macro_f1_high: float
    weak_f1: float
    weak_f1_low: float
    weak_f1_high: float
    rest_f1: float
    weak_gain: float
    """Mean paired difference of weak_f1 to the baseline."""
    weak_gain_low: float
    weak_gain_high: float
    weak_gain_p: float
    """One-sided p-value of "no gain"."""
    rest_gain: float
    rest_gain_low: float = 0.0
    """Lower end of its 95 % interval."""
    holm_p: float = 1.0
    """The same p-value, adjusted over the arm's ratios (Holm); of an arm without ratios not adjusted."""
    balanced_accuracy: float = 0.0
    """Mean recall over all classes and repetitions, in [0, 1]."""
    content_gain: float = 0.0
    """Mean paired difference of weak_f1 to the arm that shows real images again at the same ratio; 0 without one."""
    content_gain_low: float = 0.0
    content_gain_high: float = 0.0
    content_gain_p: float = 1.0
    """One-sided p-value of "the images do no better than the class's real ones shown again"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepTable:
    """The outcome of the sweep."""

    rows: list[SweepRow]
    recommended_ratio: float
    """The recommended level of `judged_arm`; 0 for none."""
    recommendation: str
    failures: list[str]
    primary_contrast: str = ""
    """What was stated before the first trial as the one contrast that decides."""
    judged_arm: str = ""
    """The arm that the recommendation is about."""
    best_control: str = BASELINE.name
    """The arm without synthetic images that does best on validation."""
    warnings: list[str] = field(default_factory=list)
    """What a reader of the recommendation must know, such as a free control that does as well."""
    class_ratios: list[ClassRatio] = field(default_factory=list)
    contrasts: list[SweepContrast] = field(default_factory=list)
    classes: list[SweepClassRow] = field(default_factory=list)
    groups: list[SweepGroupRow] = field(default_factory=list)
    arms: list[Arm] = field(default_factory=list)
    """Every arm that was run, in the order of the plan: what the names in the rows mean."""
    verdict: Verdict | None = None
    """What to do; None where the judged source has no images."""
    learning_rate_factors: dict[str, float] = field(default_factory=dict)
    """Multiple of classifier.learning_rate at which each arm does best on validation, by its name."""
    replication: Replication | None = None
    """How often each step was repeated; None in a table that was not made by the protocol."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What a stage cost when it did its work; GPU seconds are seconds times GPUs held."""

    stage: str
    seconds: float
    gpu_seconds: float
