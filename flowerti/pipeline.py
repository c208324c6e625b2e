"""The stages of a run: from images to a classifier, weak classes, what is learnt and drawn, scores, sweep and report.

Each stage takes the study and the artifacts before it and leaves out what the run directory already holds. This module
does not know how a stage works; Ray is reached only through `flowerti.cluster`.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from flowerti.artifacts import layout
from flowerti.artifacts.ceiling import Ceiling, WorthRow
from flowerti.artifacts.curation import Curation
from flowerti.artifacts.damage import damage_told
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.locked_protocol import count_openings, read_protocol
from flowerti.artifacts.records import ClassifierReport, ImageSet, Learned, Selection, SweepTable
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.run_lock import held
from flowerti.artifacts.scores import Scores
from flowerti.artifacts.sweep import SweepCosts
from flowerti.artifacts.versions import versions
from flowerti.config.experiment import Experiment
from flowerti.data.census import census_sentences
from flowerti.outcome import recorded
from flowerti.progress import Listener, Progress
from flowerti.run_place import check_place
from flowerti.stage_clock import StageClock
from flowerti.study import Study, check_held_out, check_pool_sizes, prepare, unscorable
from flowerti.tables import Table

STAGES = ("classify", "select", "ceiling", "personalize", "sample", "score", "sweep", "confirm", "report")
"""In the order in which they run."""


def run_experiment(
    experiment: Experiment,
    run: RunDirectory,
    listeners: Sequence[Listener] = (),
    until: str = "report",
    *,
    take_over: bool = False,
) -> str:
    """Run all stages that are missing, up to `until`; how it ended is left in result.json.

    It ends with the ceiling where that was asked and shows that no more is to be had than the run could detect.

    Args:
        experiment: the settings.
        run: the run directory, which no other run may hold meanwhile.
        listeners: hear what the stages say.
        until: the last stage.
        take_over: take the run directory from a run that holds it.

    Returns:
        The stage that it ended with.

    Raises:
        ValueError: something about the input is wrong, or another run holds the directory; nothing costly was done.
            Whatever ends a later stage is raised as it is, and its stage and reason are left in result.json.
    """
    if until not in STAGES:
        raise ValueError(f"--until: unknown stage {until!r}: choose one of {', '.join(STAGES)}")
    from flowerti.cluster.session import set_environment

    set_environment(experiment.cluster)  # before a stage's module imports Ray
    check_place(experiment, run)
    clock = StageClock(run, experiment, listeners)
    told, lock_held = damage_told(clock.tell), held(run, clock.tell, take_over=take_over)
    with told, lock_held as lock, recorded(run, lock, lambda: clock.last) as outcome:
        study = prepare(experiment, run)
        Progress("run", listeners).info(_opening(study))
        for sentence in census_sentences(study.census):
            Progress("data", listeners).info(sentence)
        outcome.stage, outcome.reason = _run_stages(study, clock, until)
    return outcome.stage


def _opening(study: Study) -> str:
    """What is about to be done, in one line."""
    from flowerti.cluster.session import device_of

    experiment, cluster = study.experiment, study.experiment.cluster
    counts = study.census.counts
    num_images = sum(row.num_train + row.num_validation + row.num_test for row in counts)
    on = "a GPU" if device_of(cluster) == "cuda" else "the processor"
    workers = f"{cluster.num_workers} worker{'' if cluster.num_workers == 1 else 's'}"
    return (
        f"{num_images} images of {len(counts)} classes at {experiment.data.image_size_px} px, base "
        f"{experiment.base.path}, {workers} on {on}, in {study.run.uri}"
    )


def _run_stages(study: Study, clock: StageClock, until: str) -> tuple[str, str]:
    """Run up to a stage; the last stage, and why nothing should be done after it."""
    from flowerti.cluster.session import close
    from flowerti.cluster.waiting import waits_told

    try:
        with waits_told(study.experiment.cluster, clock.tell):
            for done in _stages(study, clock):
                if done.ends_because:
                    clock.tell(f"the run ends here: {done.ends_because}")
                    if study.run.exists(layout.PAGE):
                        clock.tell(f"{layout.PAGE} is of an earlier run in this directory, which went on")
                if done.stage == until or done.ends_because:
                    return done
    except Exception as error:
        error.add_note(f"in stage {clock.last}")
        raise
    finally:
        close()
    return until, ""


def _out_of_sight(study: Study, found: Ceiling | None) -> str:
    """Why nothing should be learnt, as far as the ceiling knows; empty where some gain is in sight, or tried anyway."""
    from flowerti.ceiling.answers import is_out_of_sight, told

    if found is None or study.experiment.ceiling.goes_on or not is_out_of_sight(found):
        return ""
    return f"{' '.join(told(found))} Go on anyway with --ceiling.goes-on."


@dataclass(frozen=True, kw_only=True, slots=True)
class _Drawn:
    """What is known once the images are drawn."""

    classifier: ClassifierReport
    selection: Selection
    ceiling: Ceiling | None
    """None where it was not asked."""
    learned: list[Learned]
    sets: list[ImageSet]


class _Done(NamedTuple):
    """A stage that is done."""

    stage: str
    ends_because: str = ""
    """Why nothing should be done after it; empty for going on."""


def _stages(study: Study, clock: StageClock) -> Iterator[_Done]:
    """Do one stage after the other, and yield each when it is done."""
    drawn = yield from _up_to_images(study, clock)
    yield from _up_to_report(study, clock, drawn)


def _up_to_images(study: Study, clock: StageClock) -> Generator[_Done, None, _Drawn]:
    from flowerti.cluster.ceiling import ceiling
    from flowerti.cluster.classify import classify
    from flowerti.cluster.personalize import personalize
    from flowerti.cluster.sample import sample

    with clock.stage("classify") as progress:
        classifier = classify(study, progress)
    yield _Done("classify")
    with clock.stage("select") as progress:
        selection = choose(study, classifier, progress)
    yield _Done("select")
    with clock.stage("ceiling") as progress:
        rehearsed = ceiling(study, selection, classifier, progress)
    yield _Done("ceiling", _out_of_sight(study, rehearsed))
    learned = personalize(study, selection, lambda technique: clock.stage(f"personalize.{technique}"))
    yield _Done("personalize")
    with clock.stage("sample") as progress:
        sets = sample(study, selection, learned, progress)
    yield _Done("sample")
    return _Drawn(classifier=classifier, selection=selection, ceiling=rehearsed, learned=learned, sets=sets)


def _up_to_report(study: Study, clock: StageClock, drawn: _Drawn) -> Iterator[_Done]:
    from flowerti.cluster.score import score
    from flowerti.cluster.sweep import sweep
    from flowerti.personalization.store import neighbours_among
    from flowerti.report.findings import Findings
    from flowerti.report.publish import publish

    sets = drawn.sets
    with clock.stage("score") as progress:
        scores = score(study, sets, "validation", progress)
    yield _Done("score")
    with clock.stage("sweep") as progress:
        table = sweep(study, drawn.selection, sets, progress)
        worth = _worth_of_images(study, drawn, table, progress)
    yield _Done("sweep")
    with clock.stage("confirm") as progress:
        scores = joined(scores, score(study, sets, "test", progress))
    yield _Done("confirm")
    with clock.stage("report"):
        found = Findings(
            experiment=study.experiment,
            census=study.census,
            base_sha256=study.base_sha256,
            seen=study.seen,
            classifier=drawn.classifier,
            selection=drawn.selection,
            learned=drawn.learned,
            concept_neighbours=neighbours_among(study.run, drawn.learned),
            sets=[images for images in sets if not images.learning],
            scores=scores,
            sweep=table,
            ceiling=drawn.ceiling,
            curation=study.run.load(layout.CURATION, Curation) if study.experiment.filters.keep else None,
            worth=worth,
            test_openings=count_openings(study.run),
            plan_changes=read_protocol(study.run).plan_changes,
            arm_costs=(study.run.load(layout.SWEEP_COSTS, SweepCosts) or SweepCosts(arms=[])).arms,
            timings=clock.timings(),
            versions=versions(),
        )
        publish(study, found)
    yield _Done("report")


def _worth_of_images(study: Study, drawn: _Drawn, table: SweepTable, progress: Progress) -> list[WorthRow]:
    """What the images of each arm on top of the best control are worth in real ones; nothing without a rehearsal."""
    from flowerti.ceiling.worth import worth_rows
    from flowerti.cluster.ceiling import curve_on

    if drawn.ceiling is None:
        return []
    curve = drawn.ceiling
    if curve.control != table.best_control:
        curve = curve_on(study, drawn.selection, drawn.classifier, table.best_control, progress)
    sizes: dict[str, list[int]] = {}
    for images in drawn.sets:
        sizes.setdefault(images.source, []).append(images.num_images)
    num_images = {source: round(sum(found) / len(found)) for source, found in sizes.items()}
    return worth_rows(curve, table.rows, Table("arm of this sweep", table.arms), num_images)


def choose(study: Study, report: ClassifierReport, progress: Progress) -> Selection:
    """Select the weak classes, and refuse what could not be scored or mixed later.

    Raises:
        ValueError: sampling.num_per_class is too small for the largest ratio, a class that is named has too few
            held-out images, or no class can be judged.
    """
    from flowerti.classifier.selection import select
    from flowerti.data.draws import check_spare
    from flowerti.data.seen_images import seen_held_out

    experiment = study.experiment
    counts = {count.class_name: count.num_train for count in study.census.counts}
    spoilt = {} if experiment.base.allow_seen_held_out else seen_held_out(study.seen)
    spoilt = spoilt | unscorable(study.dataset)
    selection = select(report.classes, counts, experiment.selection, spoilt)
    check_pool_sizes(experiment, {s.class_name: s.num_train for s in selection.selected})
    check_held_out(study.dataset, [s.class_name for s in selection.selected])
    check_spare(study.spare, experiment.replication.num_draws, {s.class_name: s.num_train for s in selection.selected})
    key = key_of(selection)
    if study.run.load(layout.SELECTION, Selection, key) is None:
        progress.did_work()
        study.run.save(layout.SELECTION, selection, key)
        progress.info(", ".join(f"{s.class_name} ({s.reason})" for s in selection.selected))
        if selection.passed_over:
            told = ", ".join(f"{s.class_name} ({spoilt[s.class_name]})" for s in selection.passed_over)
            progress.info(f"passed over, for they could not be judged: {told}")
    return selection


def joined(validation: Scores, test: Scores) -> Scores:
    """Records that name their split from both passes; of all others those that were confirmed on test."""
    return replace(
        test,
        distances=validation.distances + test.distances,
        learning_distances=validation.learning_distances + test.learning_distances,
        comparisons=validation.comparisons + test.comparisons,
        verdicts=validation.verdicts + test.verdicts,
        notes=list(dict.fromkeys(validation.notes + test.notes)),
    )
