"""Times two ways of doing the same, in pairs and by turns, and prints the outcome as one JSON object.

Machines are noisy, so only ratios within a pair count, never absolute times. This module does not know what is timed.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy import stats

Clock = Callable[[], float]


def paired_ratio(
    baseline: Callable[[], Any], ours: Callable[[], Any], num_pairs: int, clock: Clock = time.process_time
) -> dict[str, float]:
    """How many times more the baseline takes than ours.

    Each way runs once beforehand. The order within a pair alternates.

    Args:
        baseline: the other way.
        ours: this project's way.
        num_pairs: pairs that count, at least 2.
        clock: CPU seconds of this process by default; `time.perf_counter` where other processes work.

    Returns:
        "value" (geometric mean of the ratios), "low" and "high" (95 % t interval of it), "pairs", and the median
        seconds of both ways under "baseline_s" and "ours_s".
    """
    baseline()
    ours()
    seconds = np.zeros((num_pairs, 2))
    for pair in range(num_pairs):
        order = (0, 1) if pair % 2 == 0 else (1, 0)
        for way in order:
            begun = clock()
            (baseline, ours)[way]()
            seconds[pair, way] = clock() - begun
    middle = np.median(seconds, axis=0)
    return ratio_of(seconds[:, 0], seconds[:, 1]) | {"baseline_s": float(middle[0]), "ours_s": float(middle[1])}


def by_turns(
    arms: Mapping[str, Callable[[], Any]], num_rounds: int, steps_a_round: int = 1, clock: Clock = time.process_time
) -> dict[str, np.ndarray]:
    """CPU seconds of a step of each arm, every arm once a round, in an order that turns; one round comes before."""
    seconds = {name: np.zeros(num_rounds) for name in arms}
    names = list(arms)
    for step in arms.values():
        step()
    for turn in range(num_rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begun = clock()
            for _ in range(steps_a_round):
                arms[name]()
            seconds[name][turn] = (clock() - begun) / steps_a_round
    return seconds


def ratio_of(baseline_s: np.ndarray, ours_s: np.ndarray) -> dict[str, float]:
    """Geometric mean of paired ratios with its 95 % t interval; NaN where a time is a difference that is not positive.

    Such a difference means that other work on the machine was larger than what is measured.
    """
    times = np.stack([np.asarray(baseline_s), np.asarray(ours_s)])
    logs = np.log(times[0] / times[1]) if (times > 0).all() else np.full(times.shape[1], np.nan)
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    value, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    return {"value": float(value), "low": float(low), "high": float(high), "pairs": len(logs)}


def compared_rates(
    bare_s: np.ndarray, ours_s: np.ndarray, num_images: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The ratio of a bare loop's seconds to ours for as many images, and both rates where no time is negative."""
    ratio: dict[str, float] = ratio_of(bare_s, ours_s)
    details: dict[str, float] = {"num_images": num_images}
    if np.isfinite(ratio["value"]):
        for name, spent_s in (("bare", bare_s), ("ray", ours_s)):
            details[f"{name}_images_per_s"] = num_images / float(np.median(spent_s))
    return ratio, details


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    packages = ("torch", "ray", "numpy", "scipy", "torchmetrics", "diffusers")
    return {
        "processor": _processor(),
        "num_cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def print_result(benchmark: str, ratios: dict[str, dict[str, float]], details: dict[str, Any]) -> None:
    """Print the one JSON object of a benchmark; ratios that are not numbers are named under "too_noisy" instead."""
    good = {name: ratio for name, ratio in ratios.items() if np.isfinite(ratio["value"])}
    if noisy := sorted(set(ratios) - set(good)):
        details = details | {"too_noisy": noisy}
    printed = {"benchmark": benchmark, "machine": machine(), "ratios": good, "details": details}
    print(json.dumps(printed, indent=1, allow_nan=False))
