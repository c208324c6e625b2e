"""What failed in a run, and what is missing from it that a reader would look for, in plain sentences.

This module compares what the settings asked for with what the stages returned; it knows nothing about the numbers.
"""

from flowerti.artifacts.records import Adapter, Concept, SweepTable
from flowerti.config.experiment import Experiment
from flowerti.report.findings import Findings
from flowerti.report.names import SOURCE_NAMES, arm_name


def failures(concepts: list[Concept], adapters: list[Adapter], sweep: SweepTable) -> list[dict[str, str]]:
    """Each class without a token or adapter and each lost trial, with the reason."""
    of_classes = [
        {"stage": stage, "class_name": learnt.class_name, "reason": learnt.error}
        for stage, records in (("invert", concepts), ("adapt", adapters))
        for learnt in records
        if learnt.error
    ]
    return of_classes + [{"stage": "sweep", "class_name": "", "reason": text} for text in sweep.failures]


def left_out(found: Findings) -> list[str]:
    """What is not there although nothing reported a failure, a sentence each."""
    experiment, selection = found.experiment, found.selection
    notes = []
    if not experiment.data.show_images:
        notes.append("Real images are not shown: data.show_images is off.")
    if found.census.unreadable:
        notes.append(f"Images that could not be opened and were skipped: {len(found.census.unreadable)}.")
    tried = {concept.class_name for concept in found.concepts}
    notes += [
        f"{chosen.class_name}: no token was tried." for chosen in selection.selected if chosen.class_name not in tried
    ]
    return notes + _missing_sets(found) + _missing_arms(experiment, found.sweep)


def _missing_sets(found: Findings) -> list[str]:
    drawn = {(one.class_name, one.source) for one in found.sets}
    scored = {(distance.class_name, distance.source) for distance in found.scores.distances}
    names = [chosen.class_name for chosen in found.selection.selected]
    notes = []
    for source in found.experiment.sampling.sources:
        undrawn = [name for name in names if (name, source) not in drawn]
        unscored = [name for name in names if (name, source) in drawn - scored]
        if undrawn:
            notes.append(f"No images from the {SOURCE_NAMES.get(source, source)}: {', '.join(undrawn)}.")
        if unscored:
            notes.append(f"Images from the {SOURCE_NAMES.get(source, source)} have no distance: {', '.join(unscored)}.")
    return notes


def _missing_arms(experiment: Experiment, sweep: SweepTable) -> list[str]:
    on_validation = {(row.arm, row.ratio) for row in sweep.rows if row.split == "validation"}
    arms = {arm for arm, _ in on_validation}
    notes = []
    for arm in (*experiment.sweep.free_arms, *experiment.sampling.sources):
        missing = [f"{r:g}" for r in experiment.sweep.ratios if (arm, r) not in on_validation]
        if arm not in arms:
            notes.append(f"The sweep has no row for the arm {arm_name(arm)}.")
        elif arm in experiment.sampling.sources and missing:
            notes.append(f"The sweep's arm {arm_name(arm)} lacks the ratios {', '.join(missing)}.")
    if not any(row.split == "test" for row in sweep.rows):
        notes.append("The sweep has no row on the test split.")
    return notes
