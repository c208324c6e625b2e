"""What a run of many classes costs its driver: requests to the bucket, CPU seconds and memory of every stage.

`python benchmarks/scale.py` prints one JSON object. The stages' own code runs against a real S3 server on this machine,
with workers that leave tiny files at once (`scale_world`); then it runs again, as on a finished run.
"""

import importlib
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "tests"))

from benchmarks.paired import print_result
from benchmarks.scale_world import Counts, WorldSize, replace_workers, selection_of, study_in
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.personalize import personalize
from flowerti.cluster.sample import sample
from flowerti.cluster.score import score
from flowerti.cluster.sweep import sweep
from flowerti.personalization.store import neighbours_among
from flowerti.progress import Progress
from flowerti.report.publish import shown_images
from flowerti.study import Study

start_store = importlib.import_module("object_store").start_store

_TINY = WorldSize(num_classes=3, num_sources=2, num_shards=2)
_QUICK = WorldSize(num_classes=100, num_sources=5, num_shards=3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Counts what the driver does."""

    num_classes: int = 1000
    num_sources: int = 5
    """At most 5."""
    num_shards: int = 13
    """Of each class and source."""
    quick: bool = False
    tiny: bool = False


@dataclass(kw_only=True)
class Stages:
    """Requests and CPU seconds by stage."""

    counts: Counts
    requests: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """Count what is done in this block."""
        requests, seconds = self.counts.now()
        yield Progress(name)
        now = self.counts.now()
        self.requests[name] = self.requests.get(name, 0) + now[0] - requests
        self.seconds[name] = self.seconds.get(name, 0.0) + now[1] - seconds


def main() -> None:
    """Measure and print."""
    options = tyro.cli(Options)
    asked = WorldSize(num_classes=options.num_classes, num_sources=options.num_sources, num_shards=options.num_shards)
    size = _TINY if options.tiny else _QUICK if options.quick else asked
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    with tempfile.TemporaryDirectory() as folder:
        store, server = start_store(Path(folder) / "store.log")
        try:
            counts = Counts(requests=lambda: store.control("requests", "GET"))
            details = measure(RunDirectory(store.uri("runs/scale")), counts, size)
        finally:
            server.terminate()
            server.wait()
    print_result("scale", {}, details)


def measure(run: RunDirectory, counts: Counts, size: WorldSize) -> dict[str, Any]:
    """Run all stages twice and count."""
    study = study_in(run, size)
    replace_workers(counts)
    before_gib = _peak_gib()
    first, again = Stages(counts=counts), Stages(counts=counts)
    run_stages(study, first)
    peak_gib, task_bytes = _peak_gib() - before_gib, list(counts.task_bytes)
    run_stages(study_in(run, size), again)
    return {
        "num_classes": size.num_classes,
        "num_sources": size.num_sources,
        "num_shards": size.num_shards,
        "driver_requests": first.requests,
        "driver_requests_in_all": sum(first.requests.values()),
        "driver_seconds": {name: round(seconds, 2) for name, seconds in first.seconds.items()},
        "driver_peak_gib": round(peak_gib, 3),
        "largest_task_mib": round(max(task_bytes) / 2**20, 3),
        "all_tasks_mib": round(sum(task_bytes) / 2**20, 3),
        "resume_requests": again.requests,
        "resume_requests_in_all": sum(again.requests.values()),
        "resume_seconds": {name: round(seconds, 2) for name, seconds in again.seconds.items()},
    }


def run_stages(study: Study, stages: Stages) -> None:
    """The stages that come by what every class has, as `pipeline` runs them."""
    selection = selection_of(study)
    learned = personalize(study, selection, lambda technique: stages.stage("personalize"))
    with stages.stage("sample") as progress:
        sets = sample(study, selection, learned, progress)
    with stages.stage("score") as progress:
        score(study, sets, "validation", progress)
    with stages.stage("sweep") as progress:
        sweep(study, selection, sets, progress)
    with stages.stage("confirm") as progress:
        score(study, sets, "test", progress)
    with stages.stage("report"):
        neighbours_among(study.run, learned)
        shown_images(study, selection, sets)


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
