"""Which stage a run is in, what it reports, and what each stage cost when it last did work of its own.

This module does not know what a stage does.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.records import Timing
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import Experiment
from flowerti.progress import Listener, Progress


class StageClock:
    """Gives each stage a `Progress`, and keeps its time where the stage said that it did work."""

    def __init__(self, run: RunDirectory, experiment: Experiment, listeners: Sequence[Listener]) -> None:
        """Times are kept under timings/ in the run directory."""
        self._run, self._experiment, self._listeners = run, experiment, listeners
        self._num_gpus = experiment.cluster.num_workers * experiment.cluster.num_gpus_per_worker
        self._stages: list[str] = []

    @property
    def last(self) -> str:
        """The stage that was begun last; empty before the first."""
        return self._stages[-1] if self._stages else ""

    def tell(self, text: str) -> None:
        """Say something about the stage that was begun last, or the run before it; it is no work of that stage."""
        Progress(self.last or "run", self._listeners).info(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """Time a stage, or a part of one that is timed on its own."""
        self._stages.append(name)
        progress, began = Progress(name, self._listeners), time.monotonic()
        yield progress
        if progress.has_worked:
            seconds = time.monotonic() - began
            timing = Timing(stage=name, seconds=seconds, gpu_seconds=seconds * self._num_gpus)
            self._run.save(layout.timing(name), timing, timing_key(self._experiment, name))

    def timings(self) -> list[Timing]:
        """What each stage cost when it last did its work."""
        return [timing for name in self._stages if (timing := read_timing(self._run, self._experiment, name))]


def read_timing(run: RunDirectory, experiment: Experiment, stage: str) -> Timing | None:
    """What a stage of a run cost when it last did its work; None where that is not known."""
    return run.load(layout.timing(stage), Timing, timing_key(experiment, stage))


def timing_key(experiment: Experiment, stage: str) -> str:
    """Key of a stage's time; it does not depend on settings, which may change between two starts of a run."""
    return key_of(stage, experiment.name, experiment.seed)
