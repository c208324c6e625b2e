"""Time to the usual script's final loss, on real pictures and a trained base.

The yardstick is the deterministic loss on pictures of the class: fixed pictures, timesteps over the whole schedule, and
noise and captions that no step has drawn. The script's path is walked by an equal but cheaper step (encode once, train
the rows alone: tests/inversion/test_engine_against_script.py holds both equal to the script's), and its seconds are its
number of steps times the CPU seconds of its real step, measured beside the engine's. Neither arm pays for looking at
the yardstick; the engine pays for the encoding and for its own evaluations. At the end pictures are drawn with the
script's last rows and with those that brought the engine to the target, from the same noise, and their distances to
held-out ones compared.
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

from benchmarks.inversion_pictures import Gauge
from benchmarks.inversion_steps import TOKEN, engine_steps, script_steps, small_base
from benchmarks.paired import ratio_of
from flowerti.artifacts.records import LossPoint, seed_for
from flowerti.config.experiment import DataConfig, InversionConfig
from flowerti.data.dataset import list_records, read_pictures
from flowerti.diffusion import Base
from flowerti.inversion.denoising import Draw, TrainingSet, denoising_losses, evaluate, prepare
from flowerti.inversion.engine import Course, Lesson, start, take_step

_EVAL_LATENTS = 128
_EVAL_BATCH_SIZE = 64
_EVAL_SEED = 20260101
_NUM_LAST_EVALS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Race:
    """What both arms share."""

    class_names: tuple[str, ...] = ("azalea", "sword lily", "canna lily")
    """Classes to learn."""
    num_seeds: int = 5
    """Runs of each class."""
    num_steps: int = 2000
    """Steps of the script."""
    eval_every_steps: int = 100
    """Steps between two looks at the yardstick in the script's arm."""
    batch_size: int = 4
    """Latents in a step of either arm; diffusers' own recipe takes 1 and accumulates 4, the script's default is 16."""
    yardstick_split: Literal["validation", "train"] = "train"
    """Pictures on which the yardstick looks; the loss of validation pictures hardly falls on a base this small."""
    num_vectors: int = 2
    """Rows of a token."""
    learning_rates: tuple[float, ...] = (1e-4, 5e-3)
    """The script's default, against the engine at its own rate; then tuned ones, the same in both arms."""
    engine_rate: float = 5e-3
    """The engine's own rate."""
    engine_steps: int = 400
    """Steps that the engine plans for."""
    engine_eval_every_steps: int = 10
    """Steps between two looks at the yardstick in the engine's arm."""
    num_pictures: int = 40
    """Pictures drawn with each token."""
    num_processes: int = 1
    """Processes of one thread to share classes and rates; changes no result, steps are timed before."""

    def __post_init__(self) -> None:
        """One seed has no spread to compare with."""
        if self.num_seeds < 2:
            raise ValueError(f"race.num_seeds is {self.num_seeds}: at least 2 are needed for an interval")


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
    engine_best: float
    script_distance: float
    """Kernel distance on EfficientNet-Lite0 of pictures drawn with the script's last rows to held-out real ones."""
    engine_distance: float
    """The same with the engine's rows at the target, or its last ones where it never was there."""


@dataclass(kw_only=True, slots=True)
class Arm:
    """What an arm leaves: a curve and rows for each seed."""

    curves: list[list[LossPoint]]
    rows: list[Tensor]


def race(folder: Path, data: DataConfig, options: Race, num_timed_steps: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run all pairs on the base in `folder`; returns the ratios and the details."""
    train = _read(data, "train", options.class_names[0])
    costs = _seconds_per_step(small_base(folder), train, options, num_timed_steps)
    cells = [(name, rate) for rate in options.learning_rates for name in options.class_names]
    # a forked child would inherit torch's threads in whatever state they are
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.num_processes, context, torch.set_num_threads, (1,)) as pool:
        walked = [pool.submit(_pairs, folder, data, name, rate, options) for name, rate in cells]
        pairs = [pair for future in walked for pair in future.result()]
    ratios = {}
    for i, rate in enumerate(options.learning_rates):
        arm = "script_s" if i == 0 else "best_flags_s"
        of_rate = [pair for pair in pairs if pair.learning_rate == rate]
        name = "time_to_target" if i == 0 else f"time_to_target_best_flags_lr_{rate:g}"
        ratios[name] = _ratio(of_rate, costs, costs[arm], options, to_end=True)
        ratios[f"{name}_from_first_reach"] = _ratio(of_rate, costs, costs[arm], options, to_end=False)
    ratios = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    details = {
        "race": dataclasses.asdict(options),
        "cpu_seconds": costs,
        "pairs": [dataclasses.asdict(pair) for pair in pairs],
        "picture_distances": _distances(pairs, options),
        "not_reached": sum(pair.engine_reached_at < 0 for pair in pairs),
        "left_out_because_the_start_was_there_already": sum(pair.engine_reached_at == 0 for pair in pairs),
    }
    return ratios, details


def _read(data: DataConfig, split: Literal["train", "validation"], name: str) -> Tensor:
    records = list_records(data, seed=0).of(split, name)
    return torch.from_numpy(read_pictures([record.address for record in records], data.image_size_px))


def _seconds_per_step(base: Base, pictures: Tensor, options: Race, num_steps: int) -> dict[str, float]:
    """Median CPU seconds of each arm's step, taken by turns, and the engine's other costs."""
    arms = {
        "script_s": script_steps(base, pictures, options.batch_size, options.num_vectors, best_flags=False),
        "best_flags_s": script_steps(base, pictures, options.batch_size, options.num_vectors, best_flags=True),
        "engine_s": engine_steps(base, pictures, options.batch_size, options.num_vectors),
    }
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(num_steps + 1):
        for name, step in arms.items():
            begun = time.process_time()
            step()
            if turn:
                seconds[name].append(time.process_time() - begun)
    begun = time.process_time()
    data = prepare(base, pictures, TOKEN, options.num_vectors)
    costs = {name: float(np.median(values)) for name, values in seconds.items()}
    costs["engine_encoding_s"] = time.process_time() - begun
    config = _engine_config(options, options.engine_rate)
    rows = start(base, data, config).rows
    begun = time.process_time()
    evaluate(base, rows, data, config, _EVAL_SEED)
    costs["engine_evaluation_s"] = time.process_time() - begun
    return costs


def _engine_config(options: Race, learning_rate: float) -> InversionConfig:
    return InversionConfig(
        num_vectors=options.num_vectors,
        num_steps=options.engine_steps,
        batch_size=options.batch_size,
        learning_rate=learning_rate,
    )


def _yardstick(base: Base, rows: Tensor, watched: TrainingSet) -> float:
    config = InversionConfig(num_eval_latents=_EVAL_LATENTS, batch_size=_EVAL_BATCH_SIZE)
    return evaluate(base, rows.detach(), watched, config, _EVAL_SEED)


def _pairs(folder: Path, source: DataConfig, name: str, learning_rate: float, options: Race) -> list[Pair]:
    """All seeds of a class at one rate, in shared batches: no run is changed (test_engine_against_script.py)."""
    base = small_base(folder)
    data = prepare(base, _read(source, "train", name), TOKEN, options.num_vectors)
    watched = prepare(base, _read(source, options.yardstick_split, name), TOKEN, options.num_vectors)
    scripts = _script_arm(base, data, watched, name, learning_rate, options)
    targets = [float(np.mean([point.loss for point in curve[-_NUM_LAST_EVALS:]])) for curve in scripts.curves]
    rate = options.engine_rate if learning_rate == options.learning_rates[0] else learning_rate
    engines = _engine_arm(base, data, watched, name, rate, options, targets)
    gauge = Gauge(base, _read(source, "validation", name).numpy(), options.num_pictures)
    return [
        Pair(
            class_name=name,
            seed=seed,
            learning_rate=learning_rate,
            target=target,
            script_reached_at=_first_at(script, target),
            engine_reached_at=_first_at(engine, target),
            engine_best=min(point.loss for point in engine),
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


def _script_arm(
    base: Base, data: TrainingSet, watched: TrainingSet, name: str, learning_rate: float, options: Race
) -> Arm:
    """The script's path for each seed: constant rate, weight decay, every timestep drawn on its own."""
    config = InversionConfig(num_vectors=options.num_vectors)
    seeds = range(options.num_seeds)
    rows = [start(base, data, config).rows.requires_grad_() for _ in seeds]
    # element by element, so that one optimiser of all rows is one for each
    optimizer = torch.optim.AdamW(rows, lr=learning_rate, weight_decay=1e-2)
    generators = [torch.Generator().manual_seed(seed_for(seed, name, "benchmark/script", 0)) for seed in seeds]
    curves = [[LossPoint(step=0, loss=_yardstick(base, one, watched))] for one in rows]
    for step in range(1, options.num_steps + 1):
        chosen = [_draw_as_the_script_does(base, data, options.batch_size, generator) for generator in generators]
        losses = denoising_losses(base, rows, [data] * len(rows), chosen)
        for one, gradient in zip(rows, torch.autograd.grad(torch.stack(losses).sum(), rows), strict=True):
            one.grad = gradient
        optimizer.step()
        if step % options.eval_every_steps == 0:
            for curve, one in zip(curves, rows, strict=True):
                curve.append(LossPoint(step=step, loss=_yardstick(base, one, watched)))
    return Arm(curves=curves, rows=[one.detach() for one in rows])


def _draw_as_the_script_does(base: Base, data: TrainingSet, batch_size: int, generator: torch.Generator) -> Draw:
    shape = (batch_size, *data.mean.shape[1:])

    def choose(num: int) -> Tensor:
        return torch.randint(num, (batch_size,), generator=generator)

    return Draw(
        views=choose(len(data.mean)),
        captions=choose(len(data.captions)),
        timesteps=choose(base.noise_scheduler.config.num_train_timesteps),
        posterior_noise=torch.randn(shape, generator=generator),
        noise=torch.randn(shape, generator=generator),
    )


def _engine_arm(
    base: Base,
    data: TrainingSet,
    watched: TrainingSet,
    name: str,
    learning_rate: float,
    options: Race,
    targets: list[float],
) -> Arm:
    """The engine's path for each seed until it is at its target, or to its planned end."""
    config = _engine_config(options, learning_rate)
    curves, lessons, running = [], [], []
    for seed, target in enumerate(targets):
        progress = start(base, data, config, name, seed)
        progress.curve.append(LossPoint(step=0, loss=0.0))  # so that the course looks at the yardstick alone
        lesson = Lesson(class_name=name, run_seed=seed, data=data, progress=progress)
        curve = [LossPoint(step=0, loss=_yardstick(base, progress.rows, watched))]
        curves.append(curve)
        lessons.append(lesson)
        running.append((Course(base, lesson, config), curve, target))
    for step in range(1, config.num_steps + 1):
        running = [entry for entry in running if entry[1][-1].loss > entry[2]]
        if not running:
            break
        take_step(base, [course for course, _, _ in running], config)
        if step % options.engine_eval_every_steps == 0:
            for course, curve, _ in running:
                curve.append(LossPoint(step=step, loss=_yardstick(base, course.lesson.progress.rows, watched)))
    return Arm(curves=curves, rows=[lesson.progress.rows.detach() for lesson in lessons])


def _ratio(
    pairs: list[Pair], costs: dict[str, float], script_s: float, options: Race, *, to_end: bool
) -> dict[str, float] | None:
    """Script's seconds over engine's.

    A run of the engine that never got there counts as if it had at its last step, and is counted in the details; a pair
    whose start was at the target already says nothing and is left out. None where fewer than two pairs are left.
    """
    every = InversionConfig().eval_every_steps
    pairs = [pair for pair in pairs if pair.engine_reached_at != 0]
    if len(pairs) < 2:
        return None
    script = [(options.num_steps if to_end else pair.script_reached_at) * script_s for pair in pairs]
    engine = []
    for pair in pairs:
        num_steps = pair.engine_reached_at if pair.engine_reached_at > 0 else options.engine_steps
        num_evals = 1 + num_steps // every
        engine.append(
            num_steps * costs["engine_s"] + num_evals * costs["engine_evaluation_s"] + costs["engine_encoding_s"]
        )
    return ratio_of(np.array(script), np.array(engine))


def default_data(root: Path) -> DataConfig:
    """Oxford 102 at 64 px in torchvision's layout."""
    return DataConfig(kind="flowers102", root=str(root), show_pictures=False)
