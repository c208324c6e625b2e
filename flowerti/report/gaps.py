"""What failed in a run, and what is missing from it that a reader would look for, in plain sentences.

This module compares what the settings asked for with what the stages returned; it knows nothing about the numbers.
"""

from collections.abc import Sequence

from flowerti.artifacts.identity import label_of
from flowerti.artifacts.records import Learned, SweepTable
from flowerti.config.experiment import Experiment, SweepConfig
from flowerti.config.techniques import TECHNIQUES, techniques_for
from flowerti.report.findings import Findings
from flowerti.report.summary_rows import Failure
from flowerti.tables.arms import ARMS, Arm
from flowerti.tables.sources import SOURCES


def failures(learned: Sequence[Learned], sweep: SweepTable) -> list[Failure]:
    """Each learning of a class that a technique could not finish and each lost trial, with the reason."""
    of_classes = [
        Failure(
            stage=f"personalize.{one.technique}", class_name=label_of(one.class_name, one.learning), reason=one.error
        )
        for one in learned
        if one.error
    ]
    return of_classes + [Failure(stage="sweep", class_name="", reason=text) for text in sweep.failures]


def left_out(found: Findings) -> list[str]:
    """What is not there although nothing reported a failure, a sentence each."""
    experiment = found.experiment
    notes = []
    if not experiment.data.show_images:
        notes.append("Real images, and those drawn from them, are not shown: data.show_images is off.")
    notes += [f"{note[:1].upper()}{note[1:]}." for note in found.census.notes]
    if found.census.unreadable:
        notes.append(f"Images that could not be opened and were skipped: {len(found.census.unreadable)}.")
    return [*notes, *_untried(found), *_missing_sets(found), *_missing_arms(experiment, found.sweep)]


def _untried(found: Findings) -> list[str]:
    """Classes for which a technique was not even begun, for want of what it needs."""
    notes = []
    for technique in techniques_for(found.experiment.sampling.sources):
        tried = [one for one in found.first_learned if one.technique == technique.name]
        names = [selected.class_name for selected in found.selection.selected]
        untried = [name for name in names if not any(one.is_of(name) for one in tried)]
        needed = f", which need {TECHNIQUES[technique.needs].label}," if technique.needs else ""
        if untried:
            notes.append(f"No {technique.label}{needed} were tried for: {', '.join(untried)}.")
    return notes


def _missing_sets(found: Findings) -> list[str]:
    drawn = {(one.class_name, one.source) for one in found.sets}
    scored = {(distance.class_name, distance.source) for distance in found.scores.distances}
    names = [chosen.class_name for chosen in found.selection.selected]
    notes = []
    for source in (SOURCES[name] for name in found.experiment.sampling.sources):
        undrawn = [name for name in names if (name, source.name) not in drawn]
        unscored = [name for name in names if (name, source.name) in drawn - scored]
        if undrawn:
            notes.append(f"No images from the {source.label}: {', '.join(undrawn)}.")
        if unscored:
            notes.append(f"Images from the {source.label} have no distance: {', '.join(unscored)}.")
    return notes


def _missing_arms(experiment: Experiment, sweep: SweepTable) -> list[str]:
    on_validation = {(row.arm, row.ratio) for row in sweep.rows if row.split == "validation"}
    free = [ARMS[name] for name in experiment.sweep.free_arms]
    present = {arm for arm, _ in on_validation}
    notes = [f"The sweep has no row for the arm {arm.label}." for arm in free if arm.name not in present]
    sources = [source for name in experiment.sampling.sources if (source := SOURCES[name]).is_arm]
    for mass in experiment.sweep.mixing:
        of_mass = [arm for arm in sweep.arms if (arm.mass, arm.donor) == (mass, "own")]
        for source in sources:
            arms = [arm for arm in of_mass if arm.source == source.name and arm.name in present]
            notes += [] if arms else [f"The sweep has no row for the arm {source.label}."]
            notes += [note for arm in arms if (note := _missing_levels(arm, experiment.sweep, on_validation))]
    if not any(row.split == "test" for row in sweep.rows):
        notes.append("The sweep has no row on the test split.")
    return notes


def _missing_levels(arm: Arm, config: SweepConfig, on_validation: set[tuple[str, float]]) -> str:
    asked = config.replace_probabilities if arm.replaces else config.ratios
    missing = [f"{number:g}" for number in asked if (arm.name, number) not in on_validation]
    kind = "probabilities" if arm.replaces else "ratios"
    return f"The sweep's arm {arm.label} lacks the {kind} {', '.join(missing)}." if missing else ""
