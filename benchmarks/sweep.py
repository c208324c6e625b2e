"""What sharing features saves, and what Tune costs: `python benchmarks/sweep.py [--quick]` prints one JSON object.

Shared: the features of all images once, then 30 head trials, all of them measured. End to end: the same frozen
network under the same heads on the same views, run on the images of every batch; a few steps and one evaluation are
measured and scaled to 30 trials. Tune: the same head trials through Tune and in a plain loop.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.end_to_end_head import fit_head_end_to_end
from benchmarks.paired import print_result, ratio_of
from flowerti.classifier.batches import LabelledInputs, TrainingRun
from flowerti.classifier.training import steps_per_epoch
from flowerti.config.experiment import ClassifierConfig, ClusterConfig, DataConfig, ReplicationConfig, SweepConfig
from flowerti.data.access import list_records, read_images
from flowerti.data.dataset import Split
from flowerti.features.backbones import Backbone, load_backbone
from flowerti.features.extraction import extract
from flowerti.sweep.repetitions import repetitions_of
from flowerti.sweep.rounds import Cell, TrialPlan, plan_trials
from flowerti.sweep.trial import run_trial
from flowerti.sweep.trial_data import TrialData
from flowerti.tables.arms import BASELINE

NUM_TRIALS = 30
BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Measures the sweep."""

    quick: bool = False
    """Fewer images, steps and pairs; answers within ten minutes on two cores."""
    tiny: bool = False
    """As little as has every part of the answer; its numbers mean nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much is measured."""

    data: DataConfig
    num_epochs: int
    """Of a trial."""
    num_pairs: int
    """At least 2: an interval needs them."""
    num_steps: int
    """End to end, to be scaled to those of a trial."""
    num_tune_trials: int
    """At least 2: what lies between two of them is timed."""


def _herbarium(num_train: tuple[int, int], num_validation: int) -> DataConfig:
    """Drawn data with as many training images of each common and each rare class; test images are not looked at."""
    common, rare = num_train
    return DataConfig(
        kind="herbarium", num_train_common=common, num_train_rare=rare, num_validation=num_validation, num_test=2
    )


FULL = Size(data=_herbarium((100, 8), 25), num_epochs=20, num_pairs=5, num_steps=10, num_tune_trials=NUM_TRIALS)
QUICK = Size(data=_herbarium((20, 4), 5), num_epochs=20, num_pairs=3, num_steps=3, num_tune_trials=8)
TINY = Size(data=_herbarium((4, 2), 2), num_epochs=2, num_pairs=2, num_steps=1, num_tune_trials=2)


def seconds(work: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    """Time of one call: CPU seconds of this process, or wall time where other processes work."""
    began = clock()
    work()
    return clock() - began


def images_of(config: DataConfig, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Images of the drawn herbarium and their classes."""
    records = list_records(config, 0).of(split)
    images = read_images([r.address for r in records], config.image_size_px)
    return images, np.array([r.class_id for r in records], dtype=np.int64)


def features_of(backbone: Backbone, views: np.ndarray) -> np.ndarray:
    """Features [num, views, dim] of images [num, views, height, width, 3], in batches."""
    flat = views.reshape(-1, *views.shape[2:])
    parts = [extract(backbone, flat[i : i + BATCH_SIZE]) for i in range(0, len(flat), BATCH_SIZE)]
    return np.concatenate(parts).reshape(*views.shape[:2], -1)


class Setting:
    """Images, network and training of all measurements."""

    def __init__(self, size: Size) -> None:
        """Draw the images and load the network."""
        self.classifier = ClassifierConfig(num_epochs=size.num_epochs)
        self.backbone = load_backbone("efficientnet_lite0", "", self.classifier.input_size_px)
        train, self.train_ids = images_of(size.data, "train")
        self.views = np.stack([train, train[:, :, ::-1]], axis=1)
        self.evaluation = images_of(size.data, "validation")[0][:, None]
        self.num_classes = int(self.train_ids.max()) + 1
        self.num_steps = self.classifier.num_epochs * steps_per_epoch(len(train), self.classifier.batch_size)

    def shared(self) -> TrialData:
        """Features of everything, computed once."""
        return TrialData(
            train=features_of(self.backbone, self.views),
            train_ids=self.train_ids,
            augmented=None,
            evaluation=features_of(self.backbone, self.evaluation),
            synthetic={},
            num_classes=self.num_classes,
        )

    def train_heads(self, data: TrialData, num_trials: int) -> None:
        """Head trials one after another."""
        for plan in _plans(num_trials):
            run_trial(data, plan, self.classifier, 0, None, SweepConfig())

    def end_to_end_s(self, num_steps: int) -> float:
        """Seconds of one end-to-end trial, scaled from num_steps steps and one evaluation."""
        train = LabelledInputs(inputs=self.views, class_ids=self.train_ids, num_classes=self.num_classes)
        run = TrainingRun(config=self.classifier, seed=0, num_steps=num_steps)
        steps = seconds(lambda: fit_head_end_to_end(self.backbone, train, run))
        evaluation = seconds(lambda: features_of(self.backbone, self.evaluation))
        return steps * self.num_steps / num_steps + evaluation


def _plans(num_trials: int) -> list[TrialPlan]:
    """Trials of the baseline with so many seeds."""
    repetitions = repetitions_of(ReplicationConfig(num_learnings=1, num_seeds=num_trials))
    return plan_trials([Cell(BASELINE, 0.0)], repetitions, "validation", {BASELINE.name: 1.0})


def tune_overhead(setting: Setting, data: TrialData, num_trials: int) -> dict[str, float]:
    """Wall seconds from a trial's end to the next one's start, one trial at a time on one worker; the start apart."""
    import ray
    from ray import tune

    from flowerti.cluster import session
    from flowerti.cluster.trials import run_points

    cluster = ClusterConfig(num_workers=1)
    ray_start = seconds(lambda: session.connect(cluster), time.perf_counter)
    with tempfile.TemporaryDirectory() as scratch:
        trainable = tune.with_parameters(
            _train_point, data=[ray.put(data)], classifier=setting.classifier, folder=scratch
        )
        begun = time.time()
        run_points(trainable, num_trials, cluster, 1, f"{scratch}/tune")
        # Trials of one worker, in the order in which they began.
        times = np.array(sorted(np.loadtxt(file).tolist() for file in Path(scratch).glob("*.txt")))
    session.close()
    gaps = times[1:, 0] - times[:-1, 1]
    return {
        "ray_start_s": ray_start,
        "tune_until_first_trial_s": float(times[0, 0] - begun),
        "tune_overhead_per_trial_s": float(np.median(gaps)),
        "tune_overhead_per_trial_max_s": float(gaps.max()),
        "trial_s": float(np.median(times[:, 1] - times[:, 0])),
        "num_tune_trials": len(times),
    }


def _train_point(point: dict[str, int], data: list[Any], classifier: ClassifierConfig, folder: str) -> None:
    """Tune's trainable, at module level as in `flowerti.cluster.trials`; notes when it ran."""
    import ray
    from ray import tune

    begun = time.time()
    torch.set_num_threads(1)
    plan = _plans(point["point"] + 1)[-1]
    run_trial(ray.get(data[0]), plan, classifier, 0, None, SweepConfig())
    np.savetxt(f"{folder}/{point['point']}.txt", [begun, time.time()])
    tune.report({"done": 1})


def main() -> None:
    """Measure and print."""
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    size = TINY if options.tiny else QUICK if options.quick else FULL
    setting = Setting(size)
    data = setting.shared()  # warms up the network, too
    setting.train_heads(data, 1)
    features_s, shared_s, direct_s = (np.zeros(size.num_pairs) for _ in range(3))
    for pair in range(size.num_pairs):
        features_s[pair] = seconds(setting.shared)
        shared_s[pair] = features_s[pair] + seconds(lambda: setting.train_heads(data, NUM_TRIALS))
        direct_s[pair] = NUM_TRIALS * setting.end_to_end_s(size.num_steps)
    details = {
        "scaled": f"end to end: {size.num_steps} of {setting.num_steps} steps and one evaluation measured, then scaled "
        f"to {NUM_TRIALS} trials; shared: features and all {NUM_TRIALS} trials measured; CPU seconds of one thread",
        "num_train": len(setting.views),
        "steps_per_trial": setting.num_steps,
        "features_s": float(np.median(features_s)),
        "shared_s": float(np.median(shared_s)),
        "end_to_end_scaled_s": float(np.median(direct_s)),
        "tune": tune_overhead(setting, data, size.num_tune_trials),
    }
    print_result("sweep", {"thirty_trials_end_to_end_to_shared_features": ratio_of(direct_s, shared_s)}, details)


if __name__ == "__main__":
    main()
