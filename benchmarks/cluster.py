"""What a cluster costs beside the work: fan-out, the weights of an actor, sampling and scoring through Ray Data.

`python benchmarks/cluster.py --quick` prints one JSON object. All of it runs on this machine with two workers, so it
wants two free cores; on fewer, workers wait for each other and the numbers say so.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cluster_fan_out import fan_out
from benchmarks.cluster_sampling import sampling
from benchmarks.cluster_size import FULL, NUM_WORKERS, QUICK, TINY, Measured, Size
from benchmarks.cluster_weights import weights
from benchmarks.paired import print_result
from benchmarks.scoring import PipelineSize, ray_pipeline
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.session import close, connect
from flowerti.config.presets import demo
from flowerti.study import Study, prepare

Part = Literal["fan_out", "weights", "sampling", "scoring"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Measures what a cluster costs."""

    quick: bool = False
    """Fewer pairs, steps and images; answers within ten minutes on two cores."""
    tiny: bool = False
    """As little as has every part of the answer; its numbers mean nothing."""
    parts: tuple[Part, ...] = PARTS
    """What to measure."""


def main() -> None:
    """Measure and print."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    size, experiment = TINY if options.tiny else QUICK if options.quick else FULL, demo()
    experiment = replace(experiment, cluster=replace(experiment.cluster, num_workers=NUM_WORKERS))
    with tempfile.TemporaryDirectory(prefix="flowerti-") as folder:
        study = prepare(experiment, RunDirectory(f"{folder}/study"))
        measures: dict[Part, Callable[[], Measured]] = {
            "fan_out": lambda: fan_out(study, size, folder),
            "weights": lambda: weights(size, folder),
            "sampling": lambda: sampling(study, size, folder),
            "scoring": lambda: scoring(study, size),
        }
        parts = {}
        for part in options.parts:
            connect(experiment.cluster)  # a part may have ended the session
            parts[part] = measures[part]()
    close()
    ratios = {name: ratio for measured, _ in parts.values() for name, ratio in measured.items()}
    print_result("cluster", ratios, {name: details for name, (_, details) in parts.items()})


def scoring(study: Study, size: Size) -> Measured:
    """Features a second through Ray Data once warm, against a bare loop; as in `benchmarks/scoring.py`."""
    records = [record for split in ("validation", "test") for record in study.dataset.of(split)]
    pipeline = PipelineSize(num_pairs=size.num_pairs, num_images=size.num_features)
    ratio, details = ray_pipeline([record.address for record in records], pipeline)
    return {"scoring_rate_to_bare_loop": ratio}, details


if __name__ == "__main__":
    main()
