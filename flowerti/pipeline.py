"""The stages of a run: images -> classify -> select -> invert -> adapt -> sample -> score -> sweep -> report.

Each stage takes the study and the artifacts before it and leaves out what the run directory already holds. This module
does not know how a stage works; Ray is reached only through `flowerti.cluster`.
"""

import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version

from flowerti.artifacts.identity import key_of
from flowerti.artifacts.records import ClassifierReport, Selection, Timing
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.scores import Scores
from flowerti.artifacts.sweep import ArmCost, SweepCosts
from flowerti.config.experiment import Experiment
from flowerti.study import Study, check_held_out, check_pool_sizes, prepare

STAGES = ("classify", "select", "invert", "adapt", "sample", "score", "sweep", "confirm", "report")
"""In the order in which they run."""
_PACKAGES = ("ray", "torch", "torchvision", "diffusers", "transformers")


def run_experiment(
    experiment: Experiment, run: RunDirectory, say: Callable[[str], None], until: str = "report"
) -> None:
    """Run all stages that are missing, up to `until`; how it ended is left in result.json.

    Raises:
        ValueError: something about the input is wrong; nothing costly was done. Whatever ends a later stage is raised
            as it is, and its stage and reason are left in result.json.
    """
    if until not in STAGES:
        raise ValueError(f"--until: unknown stage {until!r}: choose one of {', '.join(STAGES)}")
    from flowerti.cluster.session import close, set_environment
    from flowerti.cluster.waiting import waits_told

    set_environment(experiment.cluster)  # before a stage's module imports Ray
    study = prepare(experiment, run)
    clock = StageClock(run, experiment, say)
    try:
        with waits_told(experiment.cluster, clock.tell):
            for stage in _stages(study, clock):
                if stage == until:
                    break
    except Exception as error:
        _write_result(run, {"state": "failed", "stage": clock.last, "reason": f"{type(error).__name__}: {error}"})
        raise
    finally:
        close()
    _write_result(run, {"state": "done", "stage": until, "reason": ""})


def _write_result(run: RunDirectory, result: dict[str, str]) -> None:
    run.write_bytes("result.json", (json.dumps(result, indent=1) + "\n").encode())


def _stages(study: Study, clock: "StageClock") -> Iterator[str]:
    """Do one stage after the other, and yield the name of each when it is done."""
    from flowerti.cluster.adapt import adapt
    from flowerti.cluster.classify import classify
    from flowerti.cluster.personalize import invert
    from flowerti.cluster.sample import sample
    from flowerti.cluster.score import score
    from flowerti.cluster.sweep import sweep
    from flowerti.personalization.worker import neighbours_among
    from flowerti.report.findings import Findings
    from flowerti.report.publish import publish

    with clock.stage("classify") as tell:
        report = classify(study, tell)
    yield "classify"
    with clock.stage("select") as tell:
        selection = choose(study, report, tell)
    yield "select"
    with clock.stage("invert") as tell:
        concepts = invert(study, selection, tell)
    yield "invert"
    with clock.stage("adapt") as tell:
        adapters = adapt(study, concepts, tell)
    yield "adapt"
    with clock.stage("sample") as tell:
        sets = sample(study, selection, concepts, adapters, tell)
    yield "sample"
    with clock.stage("score") as tell:
        scores = score(study, sets, "validation", tell)
    yield "score"
    with clock.stage("sweep") as tell:
        table = sweep(study, selection, sets, tell)
    yield "sweep"
    with clock.stage("confirm") as tell:
        scores = _join(scores, score(study, sets, "test", tell))
    yield "confirm"
    with clock.stage("report"):
        found = Findings(
            experiment=study.experiment,
            census=study.census,
            classifier=report,
            selection=selection,
            concepts=concepts,
            concept_neighbours=neighbours_among(study.run, concepts),
            adapters=adapters,
            sets=sets,
            scores=scores,
            sweep=table,
            arm_costs=arm_costs_of(study.run),
            timings=clock.timings(),
            versions=versions(),
        )
        publish(study, found)
    yield "report"


def choose(study: Study, report: ClassifierReport, say: Callable[[str], None]) -> Selection:
    """Select the weak classes, and refuse what could not be scored or mixed later.

    Raises:
        ValueError: sampling.num_per_class is too small for the largest ratio, or a class has too few held-out images.
    """
    from flowerti.classifier.selection import select

    experiment = study.experiment
    counts = {count.class_name: count.num_train for count in study.census.counts}
    selection = select(report.classes, counts, experiment.selection)
    check_pool_sizes(experiment, {s.class_name: s.num_train for s in selection.selected})
    check_held_out(study.dataset, [s.class_name for s in selection.selected])
    key = key_of(selection)
    if study.run.load("selection.json", Selection, key) is None:
        study.run.save("selection.json", selection, key)
        say(", ".join(f"{s.class_name} ({s.reason})" for s in selection.selected))
    return selection


def _join(validation: Scores, test: Scores) -> Scores:
    """Records that name their split from both passes; of all others those that were confirmed on test."""
    return replace(
        test,
        distances=validation.distances + test.distances,
        comparisons=validation.comparisons + test.comparisons,
        verdicts=validation.verdicts + test.verdicts,
        notes=list(dict.fromkeys(validation.notes + test.notes)),
    )


def arm_costs_of(run: RunDirectory) -> list[ArmCost]:
    """What the images of each arm cost, as the sweep wrote it down."""
    costs = run.load("sweep/costs.json", SweepCosts)
    return [] if costs is None else costs.arms


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    from flowerti import __version__

    return {
        "flowerti": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


class StageClock:
    """Tells what a stage does and remembers what it cost, if it did anything."""

    def __init__(self, run: RunDirectory, experiment: Experiment, say: Callable[[str], None]) -> None:
        """Keep times under timings/ in the run directory."""
        self._run, self._say, self._stages = run, say, []
        cluster = experiment.cluster
        self._num_gpus = cluster.num_workers * cluster.num_gpus_per_worker

    @property
    def last(self) -> str:
        """The stage that was begun last; empty before the first."""
        return self._stages[-1] if self._stages else ""

    def tell(self, text: str) -> None:
        """Say something about the stage that was begun last; it is no work of that stage."""
        self._say(f"[{self.last}] {text}")

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time a stage; it counts as worked when it said something."""
        self._stages.append(name)
        said: list[str] = []
        began = time.monotonic()

        def tell(text: str) -> None:
            said.append(text)
            self._say(f"[{name}] {text}")

        yield tell
        seconds = time.monotonic() - began
        if said:
            timing = Timing(stage=name, seconds=seconds, gpu_seconds=seconds * self._num_gpus)
            self._run.save(f"timings/{name}.json", timing, name)

    def timings(self) -> list[Timing]:
        """What each stage cost when it last did its work."""
        found = [self._run.load(f"timings/{name}.json", Timing) for name in self._stages]
        return [timing for timing in found if timing is not None]
