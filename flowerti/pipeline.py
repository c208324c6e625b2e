"""The stages of a run, in order: pictures -> classify -> select -> invert -> sample -> score -> sweep -> report.

Each stage takes the study and the artifacts before it and leaves out what the run directory already holds. This module
does not know how a stage works; Ray is reached only through `flowerti.cluster`.
"""

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from flowerti.artifacts import ClassifierReport, Scores, Selection, Timing, key_of, num_synthetic
from flowerti.config import Experiment
from flowerti.run_directory import RunDirectory
from flowerti.study import Study, prepare

_PACKAGES = ("ray", "torch", "torchvision", "diffusers", "transformers")


def run_experiment(experiment: Experiment, run: RunDirectory, say: Callable[[str], None]) -> dict[str, Any]:
    """Run all stages that are missing and return the summary.

    Raises:
        ValueError: something about the input is wrong; nothing costly was done.
    """
    study = prepare(experiment, run)
    from flowerti.cluster.classify import classify
    from flowerti.cluster.invert import invert
    from flowerti.cluster.sample import sample
    from flowerti.cluster.score import score
    from flowerti.cluster.session import close
    from flowerti.cluster.sweep import sweep
    from flowerti.publish import publish

    clock = StageClock(run, experiment, say)
    try:
        with clock.stage("classify") as tell:
            report = classify(study, tell)
        with clock.stage("select") as tell:
            selection = choose(study, report, tell)
        with clock.stage("invert") as tell:
            concepts = invert(study, selection, tell)
        with clock.stage("sample") as tell:
            sets = sample(study, selection, concepts, tell)
        with clock.stage("score") as tell:
            scores = score(study, sets, "validation", tell)
        with clock.stage("sweep") as tell:
            table = sweep(study, selection, sets, tell)
        with clock.stage("confirm") as tell:
            scores = _join(scores, score(study, sets, "test", tell))
    finally:
        close()
    return publish(study, report, selection, concepts, sets, scores, table, clock.timings(), versions())


def choose(study: Study, report: ClassifierReport, say: Callable[[str], None]) -> Selection:
    """Select the weak classes, and refuse ratios that the planned number of pictures cannot serve.

    Raises:
        ValueError: sampling.num_per_class is too small for the largest ratio; says how many to draw.
    """
    from flowerti.selection import select

    experiment = study.experiment
    counts = {count.class_name: count.num_train for count in study.census.counts}
    selection = select(report.classes, counts, experiment.selection)
    for selected in selection.selected:
        needed = num_synthetic(max(experiment.sweep.ratios), selected.num_train)
        if needed > experiment.sampling.num_per_class:
            raise ValueError(
                f"sampling.num_per_class: {experiment.sampling.num_per_class} pictures are too few for ratio "
                f"{max(experiment.sweep.ratios):g} of class {selected.class_name!r} with {selected.num_train} training "
                f"pictures: set it to at least {needed}, or lower sweep.ratios"
            )
    key = key_of(selection)
    if study.run.load("selection.json", Selection, key) is None:
        study.run.save("selection.json", selection, key)
        say(", ".join(f"{s.class_name} ({s.reason})" for s in selection.selected))
    return selection


def _join(validation: Scores, test: Scores) -> Scores:
    return Scores(
        extractor=validation.extractor,
        weights_sha256=validation.weights_sha256,
        distances=validation.distances + test.distances,
        comparisons=validation.comparisons + test.comparisons,
    )


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
