"""What `summary.json` holds, as one record: its schema is generated from this class and from the records in it.

A field whose key in the file is older than its name is translated (`PUBLISHED_NAMES`): programs rely on the key.
This module computes nothing.
"""

from dataclasses import dataclass
from typing import Any

from flowerti.artifacts.locked_protocol import PlanChange, TestOpenings
from flowerti.artifacts.records import (
    ClassCount,
    ConceptNeighbour,
    ImageSet,
    SelectedClass,
    SweepRow,
    Timing,
)
from flowerti.artifacts.scores import (
    Comparison,
    CopyCheck,
    CopySensitivity,
    Distance,
    Extractor,
    MatrixRow,
    NameVerdict,
    NearDuplicate,
    Recognition,
    TrainedOnSource,
)
from flowerti.artifacts.sweep import (
    ArmCost,
    ClassRatio,
    Replication,
    SweepClassRow,
    SweepContrast,
    SweepGroupRow,
    Verdict,
)
from flowerti.tables.arms import Arm

FORMAT = "flowerti-summary-5"
PUBLISHED_NAMES = {
    "num_images": "num_pictures",
    "floor_num_images": "floor_num_pictures",
    "show_images": "show_pictures",
    "image": "picture",
}
"""Field -> its key in the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitCounts:
    """Images of each split."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True, kw_only=True, slots=True)
class QuotedSettings:
    """The settings that the report's captions quote."""

    data_kind: str
    image_size_px: int
    show_images: bool
    selection_rule: str
    classifier_mode: str
    num_epochs: int
    num_inference_steps: int
    guidance_scale: float
    num_permutations: int
    num_floor_splits: int
    num_neighbours: int
    num_bootstrap: int
    max_rest_drop: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """Names and hashes of the base and of the classifier's backbone; those of the extractors stand under extractors."""

    base: str
    base_revision: str
    base_sha256: str
    backbone: str
    backbone_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseRow:
    """The base, and which of this run's images it was trained on."""

    path: str
    sha256: str
    training_images_sha256: str
    """One hash over the list of its training images; empty where there is none."""
    drawn: str
    """Where its training images are not listed: why none of them can be in a data set. Empty where they are."""
    seen_in_training: SplitCounts | None
    """Images of each split that it was trained on; null where that is not known."""
    seen_classes: list[ClassCount]
    """The same for each class that has any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierScores:
    """The first classifier, on validation."""

    accuracy: float
    macro_f1: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedRow:
    """What the report calls a source, a technique, or a metric."""

    name: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRow:
    """Where synthetic images of this run come from."""

    name: str
    label: str
    colour: str
    technique: str
    is_judged: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricRow:
    """A metric of this run."""

    name: str
    label: str
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedRow:
    """What a technique learnt for a class, or the error that left it without."""

    class_name: str
    technique: str
    token: str
    num_vectors: int
    num_parameters: int
    num_images: int
    num_steps: int
    best_step: int
    first_loss: float | None
    best_loss: float | None
    files: dict[str, str]
    """File -> SHA-256."""
    details: dict[str, Any]
    seconds: float
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ConceptRow:
    """A token for a selected class, or the error that left it without one."""

    class_name: str
    token: str
    num_vectors: int
    initializer_token: str
    num_images: int
    num_steps: int
    best_step: int
    first_loss: float | None
    best_loss: float | None
    embeddings_sha256: str
    seconds: float
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterRow:
    """What was learnt for a class beside its token, or the error that left it without."""

    class_name: str
    rank: int
    num_parameters: int
    num_images: int
    num_steps: int
    best_step: int
    first_loss: float | None
    best_loss: float | None
    weights_sha256: str
    seconds: float
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighbourRow:
    """A vocabulary token near a learnt row."""

    class_name: str
    vector: int
    token: str
    cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Something that was tried and failed."""

    stage: str
    class_name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What the report says, for programs. null stands for a number that could not be computed."""

    format: str
    preset: str
    """Name of the run, the preset's own unless the settings changed it."""
    seed: int
    versions: dict[str, str]
    data_fingerprint: str
    num_images: SplitCounts
    unreadable: list[str]
    duplicates: list[list[str]]
    """Groups of ids of byte-identical images in different splits."""
    settings: QuotedSettings
    models: Models
    base: BaseRow
    classifier: ClassifierScores
    recommended_ratio: float
    """Synthetic images of a weak class as a multiple of its real training images; 0 means none."""
    recommendation: str
    """The reason in one sentence."""
    primary_contrast: str
    verdict: Verdict | None
    """What to do, with its gain on test; null where the judged source has no images."""
    test_openings: TestOpenings
    plan_changes: list[PlanChange]
    """Each time that the sweep's plan differed from the one written down before, in order."""
    selected: list[SelectedClass]
    """The weak classes, chosen on validation."""
    by_evidence: list[SelectedClass]
    """The classes that the blend rule would have chosen."""
    passed_over: list[SelectedClass]
    """Weaker classes that the rule left out because the base was trained on their validation or test images."""
    sources: list[SourceRow]
    techniques: list[NamedRow]
    arms: list[Arm]
    metrics: list[MetricRow]
    learned: list[LearnedRow]
    concepts: list[ConceptRow]
    """The rows of `learned` that the sweep judges: the tokens."""
    neighbours: list[NeighbourRow]
    concept_neighbours: list[ConceptNeighbour]
    adapters: list[AdapterRow]
    """The rows of `learned` beside them."""
    sets: list[ImageSet]
    extractors: list[Extractor]
    """Networks that features come from; the first is that of verdicts, recognition and copies."""
    class_names: list[str]
    """Classes of the data set, in the order of the matrix's values."""
    distances: list[Distance]
    comparisons: list[Comparison]
    verdicts: list[NameVerdict]
    matrix: list[MatrixRow]
    recognition: list[Recognition]
    trained_on_source: list[TrainedOnSource]
    copies: list[CopyCheck]
    copy_sensitivity: list[CopySensitivity]
    """Copies of the run's own training images that were planted, and how many of them were found."""
    near_duplicates: list[NearDuplicate]
    scoring_notes: list[str]
    """What scoring could not compute, and why."""
    sweep: list[SweepRow]
    best_control: str
    """The arm without synthetic images that does best on validation."""
    sweep_warnings: list[str]
    """What a reader of the recommendation must know."""
    class_ratios: list[ClassRatio]
    contrasts: list[SweepContrast]
    learning_rate_factors: dict[str, float]
    """Multiple of the classifier's learning rate at which each arm does best on validation, by the arm's name."""
    replication: Replication | None
    """How often each step was repeated, and how much repeating it changes the gain."""
    sweep_classes: list[SweepClassRow]
    sweep_groups: list[SweepGroupRow]
    arm_costs: list[ArmCost]
    failures: list[Failure]
    """What was tried and failed."""
    left_out: list[str]
    """What the settings asked for, or a reader would look for, that is not here, and why."""
    timings: list[Timing]


def published(value: Any) -> Any:
    """Anything made of dictionaries and lists, with the keys that the file gives its fields."""
    if isinstance(value, dict):
        return {PUBLISHED_NAMES.get(name, name): published(item) for name, item in value.items()}
    return [published(item) for item in value] if isinstance(value, list) else value
