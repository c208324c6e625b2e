"""What `summary.json` holds, as one record: its schema is generated from this class and from the records in it.

A field whose key in the file is older than its name is translated (`PUBLISHED_NAMES`): programs rely on the key.
This module computes nothing.
"""

from dataclasses import dataclass
from typing import Any

from flowerti.artifacts.ceiling import Ceiling, WorthRow
from flowerti.artifacts.curation import AcceptanceRow, Judge
from flowerti.artifacts.locked_protocol import PlanChange, TestOpenings
from flowerti.artifacts.records import (
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
    LearningDistance,
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
from flowerti.report.summary_rows import (
    AdapterRow,
    BaseRow,
    ClassifierScores,
    ConceptRow,
    Failure,
    LearnedRow,
    MetricRow,
    Models,
    NamedRow,
    NeighbourRow,
    QuotedSettings,
    SourceRow,
    SplitCounts,
)
from flowerti.tables.arms import Arm

FORMAT = "flowerti-summary-6"
PUBLISHED_NAMES = {
    "num_images": "num_pictures",
    "floor_num_images": "floor_num_pictures",
    "show_images": "show_pictures",
    "image": "picture",
}
"""Field -> its key in the file."""


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
    """Of the judged arm: synthetic images of a weak class as a multiple of its real training images, or the probability
    that one takes a real one's place; 0 means none."""
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
    learning_distances: list[LearningDistance]
    """Kernel distances of every learning of a class; all other scores are of the first one."""
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
    filters: list[AcceptanceRow]
    """What the filters kept of each class and source; empty where none was asked for."""
    filter_judges: list[Judge]
    """How good the classifiers are that some filters ask."""
    sweep: list[SweepRow]
    judged_arm: str
    """The arm that the recommendation is about."""
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
    ceiling: Ceiling | None
    """What unseen real images and round trips change in rehearsal classes; null where it was not asked."""
    worth: list[WorthRow]
    """What the images of each arm on top of the best control are worth, in real ones."""
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
