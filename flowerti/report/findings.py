"""Everything that a report is made from, as the stages left it.

This module knows nothing about what a report says or looks like.
"""

from dataclasses import dataclass, field

from flowerti.artifacts.ceiling import Ceiling, WorthRow
from flowerti.artifacts.curation import Curation
from flowerti.artifacts.locked_protocol import PlanChange, TestOpenings
from flowerti.artifacts.records import (
    Census,
    ClassifierReport,
    ConceptNeighbour,
    ImageSet,
    Learned,
    SeenImages,
    Selection,
    SweepTable,
    Timing,
)
from flowerti.artifacts.scores import Scores
from flowerti.artifacts.sweep import ArmCost
from flowerti.config.experiment import Experiment


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """A finished run as records."""

    experiment: Experiment
    census: Census
    classifier: ClassifierReport
    selection: Selection
    learned: list[Learned]
    """Of all techniques, class by class and learning by learning; failed ones included."""
    concept_neighbours: list[ConceptNeighbour]
    """Rows of other classes near each learnt row."""
    sets: list[ImageSet]
    scores: Scores
    """Of validation and test."""
    sweep: SweepTable
    arm_costs: list[ArmCost]
    """Of each row of the sweep."""
    test_openings: TestOpenings
    plan_changes: list[PlanChange]
    """Plans of the sweep after the first."""
    timings: list[Timing]
    versions: dict[str, str]
    base_sha256: str = ""
    seen: SeenImages | None = None
    """Which images the base was trained on; None where it is not known."""
    ceiling: Ceiling | None = None
    """None where it was not asked."""
    curation: Curation | None = None
    """What the filters kept; None where none was asked for."""
    worth: list[WorthRow] = field(default_factory=list)
    """Of the arms on top of the best control; empty without a ceiling."""

    @property
    def first_learned(self) -> list[Learned]:
        """What the first learning of each class left, which the report shows."""
        return [one for one in self.learned if not one.learning]
