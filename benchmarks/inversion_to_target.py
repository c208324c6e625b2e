"""Time to the usual script's final loss, on real images and a trained base.

The yardstick is the deterministic loss on images of the class: fixed images, timesteps over the whole schedule, and
noise and captions that no step has drawn. The script's path is walked by an equal but cheaper step (encode once, train
the rows alone: tests/personalization/test_trainer_against_script.py holds both equal to the script's), and its seconds
are its number of steps times the CPU seconds of its real step, measured beside the engine's. Neither arm pays for
looking at the yardstick; the engine pays for the encoding and for its own evaluations. Both arms go to the end of what
they planned. Then images are drawn with the last rows of each, from the same noise, and their distances to held-out
ones compared.
"""

import dataclasses
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from benchmarks.inversion_arms import EVAL_SEED, engine_arm, engine_config, script_arm
from benchmarks.inversion_images import Gauge
from benchmarks.inversion_race import Race
from benchmarks.inversion_steps import TOKEN, engine_steps, script_steps, small_base, start
from benchmarks.paired import ratio_of
from flowerti.artifacts.records import LossPoint
from flowerti.config.experiment import DataConfig
from flowerti.data.access import list_records, read_images
from flowerti.diffusion import Base
from flowerti.personalization.denoising import evaluate, prepare
from flowerti.personalization.textual_inversion.losses import denoising_losses

_NUM_LAST_EVALS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One class and seed at one rate."""

    class_name: str
    seed: int
    learning_rate: float
    target: float
    """Mean of the script's last looks at the yardstick."""
    script_reached_at: int
    """First step at which the script was at the target itself."""
    engine_reached_at: int
    """First step at which the engine was at the target; -1 where it never was."""
    engine_final: float
    """The engine's last look at the yardstick."""
    script_distance: float
    """Kernel distance on EfficientNet-Lite0 of images drawn with the script's last rows to held-out real ones."""
    engine_distance: float
    """The same with the engine's last rows."""


def race(folder: Path, data: DataConfig, options: Race, num_timed_steps: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run all pairs on the base in `folder`; returns the ratios and the details."""
    train = _read(data, "train", options.class_names[0])
    costs = _seconds_per_step(small_base(folder), train, options, num_timed_steps)
    # the longest first
    plans = sorted(zip(options.learning_rates, options.engine_steps, strict=True), key=lambda plan: -plan[1])
    cells = [(name, rate, num_steps) for rate, num_steps in plans for name in options.class_names]
    # a forked child would inherit torch's threads in whatever state they are
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.num_processes, context, torch.set_num_threads, (1,)) as pool:
        walked = [pool.submit(_pairs, folder, data, *cell, options) for cell in cells]
        pairs = [pair for future in walked for pair in future.result()]
    ratios = {}
    for i, rate in enumerate(options.learning_rates):
        of_rate = [pair for pair in pairs if pair.learning_rate == rate]
        ending = "" if i == 0 else f"_best_flags_lr_{rate:g}"
        script_s = costs["script_s" if i == 0 else "best_flags_s"]
        found = _ratios(of_rate, costs, script_s, options.engine_steps[i], options)
        ratios |= {f"{name}{ending}": ratio for name, ratio in found.items()}
    details = {
        "race": dataclasses.asdict(options),
        "cpu_seconds": costs,
        "pairs": [dataclasses.asdict(pair) for pair in pairs],
        "image_distances": _distances(pairs, options),
        "not_reached": {f"{rate:g}": _count(pairs, rate, -1) for rate in options.learning_rates},
        "start_was_there": {f"{rate:g}": _count(pairs, rate, 0) for rate in options.learning_rates},
    }
    return ratios, details


def _count(pairs: list[Pair], learning_rate: float, engine_reached_at: int) -> int:
    return sum((pair.learning_rate, pair.engine_reached_at) == (learning_rate, engine_reached_at) for pair in pairs)


def _read(data: DataConfig, split: Literal["train", "validation"], name: str) -> Tensor:
    records = list_records(data, seed=0).of(split, name)
    return torch.from_numpy(read_images([record.address for record in records], data.image_size_px))


def _seconds_per_step(base: Base, images: Tensor, options: Race, num_steps: int) -> dict[str, float]:
    """Median CPU seconds of a class's step in each arm, taken by turns, and the engine's other costs."""
    num_classes = len(options.class_names)
    arms = {
        "script_s": script_steps(base, images, options.batch_size, options.num_vectors, best_flags=False),
        "best_flags_s": script_steps(base, images, options.batch_size, options.num_vectors, best_flags=True),
        "engine_s": engine_steps(base, images, options.batch_size, options.num_vectors),
        "engine_together_s": engine_steps(base, images, options.batch_size, options.num_vectors, num_classes),
    }
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(num_steps + 1):
        for name, step in arms.items():
            begun = time.process_time()
            step()
            if turn:
                seconds[name].append(time.process_time() - begun)
    begun = time.process_time()
    data = prepare(base, images, TOKEN, options.num_vectors)
    costs = {name: float(np.median(values)) for name, values in seconds.items()}
    costs["engine_together_s"] /= num_classes
    costs["engine_encoding_s"] = time.process_time() - begun
    config = engine_config(options, options.engine_rate, options.engine_steps[0])
    rows = start(base, data, config).learnt
    begun = time.process_time()
    evaluate(base, rows, data, config, EVAL_SEED, denoising_losses)
    costs["engine_evaluation_s"] = time.process_time() - begun
    return costs


def _pairs(
    folder: Path, source: DataConfig, name: str, learning_rate: float, engine_steps: int, options: Race
) -> list[Pair]:
    """All seeds of a class at one rate, in shared batches: no run is changed (test_trainer_against_script.py)."""
    base = small_base(folder)
    data = prepare(base, _read(source, "train", name), TOKEN, options.num_vectors)
    watched = prepare(base, _read(source, options.yardstick_split, name), TOKEN, options.num_vectors)
    scripts = script_arm(base, data, watched, name, learning_rate, options)
    targets = [float(np.mean([point.loss for point in curve[-_NUM_LAST_EVALS:]])) for curve in scripts.curves]
    rate = options.engine_rate if learning_rate == options.learning_rates[0] else learning_rate
    engines = engine_arm(base, data, watched, name, engine_config(options, rate, engine_steps), options)
    gauge = Gauge(base, _read(source, "validation", name).numpy(), options.num_images)
    return [
        Pair(
            class_name=name,
            seed=seed,
            learning_rate=learning_rate,
            target=target,
            script_reached_at=_first_at(script, target),
            engine_reached_at=_first_at(engine, target),
            engine_final=engine[-1].loss,
            script_distance=gauge.distance(scripts.rows[seed], seed),
            engine_distance=gauge.distance(engines.rows[seed], seed),
        )
        for seed, (target, script, engine) in enumerate(zip(targets, scripts.curves, engines.curves, strict=True))
    ]


def _distances(pairs: list[Pair], options: Race) -> list[dict[str, Any]]:
    """For each class and rate: mean and deviation over seeds of both arms, and their paired difference, t interval."""
    found = []
    for rate, name in ((rate, name) for rate in options.learning_rates for name in options.class_names):
        of_cell = [pair for pair in pairs if (pair.learning_rate, pair.class_name) == (rate, name)]
        script, engine = (np.array([getattr(p, f"{arm}_distance") for p in of_cell]) for arm in ("script", "engine"))
        cell = {"class_name": name, "learning_rate": rate}
        for arm, values in (("script", script), ("engine", engine)):
            cell |= {f"{arm}_mean": float(values.mean()), f"{arm}_deviation": float(values.std(ddof=1))}
        farther = engine - script
        half = stats.t.ppf(0.975, len(farther) - 1) * farther.std(ddof=1) / np.sqrt(len(farther))
        mean = float(farther.mean())
        found.append(cell | {"engine_farther_by": mean, "low": mean - float(half), "high": mean + float(half)})
    return found


def _first_at(curve: list[LossPoint], target: float) -> int:
    return next((point.step for point in curve if point.loss <= target), -1)


def _ratios(
    pairs: list[Pair],
    costs: dict[str, float],
    script_s: float,
    num_engine_steps: int,
    options: Race,
) -> dict[str, dict[str, float]]:
    """Script's seconds over the engine's: to the target, and for all steps that each planned.

    "Together" are the engine's seconds for a class where all classes share its batch. A run of the engine that never
    was at its target counts as if it had been at its last step, and is counted in the details; a pair whose start was
    there already says nothing and is left out. Seconds are a step's median times steps, so intervals tell how steps
    differ between runs, not how well a step was timed: that of a whole run has no width. Empty where fewer than two
    pairs are left.
    """
    pairs = [pair for pair in pairs if pair.engine_reached_at != 0]
    if len(pairs) < 2:
        return {}

    def engine(num_steps: np.ndarray, step: str) -> np.ndarray:
        num_evals = 1 + num_steps // options.engine_eval_every_steps
        return num_steps * costs[step] + num_evals * costs["engine_evaluation_s"] + costs["engine_encoding_s"]

    reached_at = np.array([pair.engine_reached_at for pair in pairs])
    reached_at[reached_at < 0] = num_engine_steps
    script = np.full(len(pairs), options.num_steps * script_s)
    first = np.array([pair.script_reached_at * script_s for pair in pairs])
    whole = np.full(len(pairs), num_engine_steps)
    return {
        "time_to_target": ratio_of(script, engine(reached_at, "engine_s")),
        "time_to_target_from_first_reach": ratio_of(first, engine(reached_at, "engine_s")),
        "time_to_target_together": ratio_of(script, engine(reached_at, "engine_together_s")),
        "whole_run": ratio_of(script, engine(whole, "engine_s")),
        "whole_run_together": ratio_of(script, engine(whole, "engine_together_s")),
    }


def data_of(root: str) -> DataConfig:
    """Oxford 102 at 64 px in torchvision's layout; the drawn herbarium where no folder is named."""
    if not root:
        return DataConfig(kind="herbarium", show_images=False)
    return DataConfig(kind="flowers102", root=root, show_images=False)
