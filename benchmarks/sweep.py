"""What sharing features saves, and what Tune costs: `python benchmarks/sweep.py [--quick]` prints one JSON object.

Shared: the features of all pictures once, then 30 head trials, all of them measured. End to end: the same frozen
network under the same heads on the same views, run on the pictures of every batch; a few steps and one evaluation are
measured and scaled to 30 trials. Tune: the same head trials through Tune and in a plain loop.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from flowerti.backbones import Backbone, load_backbone
from flowerti.classifier import fit_head_end_to_end, steps_per_epoch
from flowerti.config import ClassifierConfig, ClusterConfig, DataConfig, SweepConfig
from flowerti.data import Split, list_records, read_pictures
from flowerti.features import extract
from flowerti.mixing import TrialData
from flowerti.sweep import plan_trials, run_trial

NUM_TRIALS = 30
BATCH_SIZE = 32


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def pictures_of(config: DataConfig, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of the drawn herbarium and their classes."""
    records = list_records(config, 0).of(split)
    pictures = read_pictures([r.address for r in records], config.image_size_px)
    return pictures, np.array([r.class_id for r in records], dtype=np.int64)


def features_of(backbone: Backbone, views: np.ndarray) -> np.ndarray:
    """Features [num, views, dim] of pictures [num, views, height, width, 3], in batches."""
    flat = views.reshape(-1, *views.shape[2:])
    parts = [extract(backbone, flat[i : i + BATCH_SIZE]) for i in range(0, len(flat), BATCH_SIZE)]
    return np.concatenate(parts).reshape(*views.shape[:2], -1)


class Setting:
    """Pictures, network and training of all measurements."""

    def __init__(self, quick: bool) -> None:
        """Draw the pictures and load the network."""
        sizes = (20, 4, 5, 5) if quick else (100, 8, 25, 40)
        names = ("num_train_common", "num_train_rare", "num_validation", "num_test")
        data = DataConfig(kind="herbarium", **dict(zip(names, sizes, strict=True)))
        self.classifier = ClassifierConfig(num_epochs=20)
        self.backbone = load_backbone("efficientnet_lite0", "", self.classifier.input_size_px)
        train, self.train_ids = pictures_of(data, "train")
        self.views = np.stack([train, train[:, :, ::-1]], axis=1)
        self.evaluation = pictures_of(data, "validation")[0][:, None]
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
        for plan in plan_trials([("real", 0.0)], num_trials, "validation"):
            run_trial(data, plan, self.classifier, 0, None, SweepConfig())

    def end_to_end_s(self, num_steps: int) -> float:
        """Seconds of one end-to-end trial, scaled from num_steps steps and one evaluation."""
        ids, config = self.train_ids, self.classifier
        steps = seconds(
            lambda: fit_head_end_to_end(self.backbone, self.views, ids, self.num_classes, config, 0, num_steps)
        )
        evaluation = seconds(lambda: features_of(self.backbone, self.evaluation))
        return steps * self.num_steps / num_steps + evaluation


def tune_overhead_s(setting: Setting, data: TrialData, num_trials: int) -> dict[str, float]:
    """Seconds that a trial takes more through Tune than in a plain loop; the start of Ray stands apart."""
    import ray
    from ray import tune

    from flowerti.cluster import session
    from flowerti.cluster.sweep import run_points

    cluster = ClusterConfig(num_workers=1)
    start = seconds(lambda: session.connect(cluster))
    reference, classifier = [ray.put(data)], setting.classifier

    def trainable(point: dict[str, int]) -> None:
        torch.set_num_threads(1)
        plan = plan_trials([("real", 0.0)], num_trials, "validation")[point["plan"]]
        run_trial(ray.get(reference[0]), plan, classifier, 0, None, SweepConfig())
        tune.report({"done": 1})

    with tempfile.TemporaryDirectory() as scratch:
        tuned = seconds(lambda: run_points(trainable, num_trials, cluster, 1, scratch))
    session.close()
    plain = seconds(lambda: setting.train_heads(data, num_trials))
    return {
        "ray_start_s": start,
        "tune_overhead_per_trial_s": (tuned - plain) / num_trials,
        "plain_trial_s": plain / num_trials,
    }


def measure(quick: bool) -> dict[str, Any]:
    """All measurements, as the object that is printed."""
    torch.set_num_threads(1)
    setting, pairs, num_steps = Setting(quick), 3 if quick else 5, 3 if quick else 10
    data = setting.shared()  # warms up the network, too
    setting.train_heads(data, 1)
    shared_s, direct_s, features_s = [], [], []
    for _ in range(pairs):
        features_s.append(seconds(setting.shared))
        shared_s.append(features_s[-1] + seconds(lambda: setting.train_heads(data, NUM_TRIALS)))
        direct_s.append(NUM_TRIALS * setting.end_to_end_s(num_steps))
    ratios = [direct / shared for direct, shared in zip(direct_s, shared_s, strict=True)]
    ratio = {"value": float(np.median(ratios)), "low": min(ratios), "high": max(ratios), "pairs": pairs}
    return {
        "benchmark": "sweep",
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "load_average": os.getloadavg()[0],
        },
        "ratios": {"thirty_trials_shared_features_against_end_to_end": ratio},
        "details": {
            "value_is": "median over pairs; low and high are the extremes",
            "scaled": f"end to end: {num_steps} of {setting.num_steps} steps and one evaluation measured, then scaled "
            f"to {NUM_TRIALS} trials; shared: everything measured",
            "num_train": len(setting.views),
            "steps_per_trial": setting.num_steps,
            "shared_s": shared_s,
            "features_s": features_s,
            "end_to_end_scaled_s": direct_s,
            **tune_overhead_s(setting, data, 8 if quick else NUM_TRIALS),
        },
    }


def main() -> None:
    """Print the measurements as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pictures, steps and pairs; some minutes")
    print(json.dumps(measure(parser.parse_args().quick), indent=1))


if __name__ == "__main__":
    main()
