"""The ratio of paired timings against scipy's interval, and that ways take turns."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats

from benchmarks.paired import by_turns, compared_rates, machine, paired_ratio, print_result, ratio_of


def test_the_ratio_is_the_geometric_mean_with_its_t_interval():
    rng = np.random.default_rng(0)
    baseline, ours = rng.uniform(2, 3, 9), rng.uniform(1, 2, 9)
    logs = np.log(baseline / ours)
    low, high = stats.t.interval(0.95, 8, loc=logs.mean(), scale=stats.sem(logs))
    found = ratio_of(baseline, ours)
    assert found["value"] == pytest.approx(stats.gmean(baseline / ours))
    assert (found["low"], found["high"], found["pairs"]) == pytest.approx((np.exp(low), np.exp(high), 9))


def test_ways_take_turns_and_the_first_runs_do_not_count():
    ran, now = [], [0.0]

    def way(name: str, seconds: float):
        def run() -> None:
            ran.append(name)
            now[0] += seconds

        return run

    found = paired_ratio(way("baseline", 3.0), way("ours", 1.5), 3, clock=lambda: now[0])
    assert ran == ["baseline", "ours", "baseline", "ours", "ours", "baseline", "baseline", "ours"]
    assert (found["value"], found["baseline_s"], found["ours_s"]) == pytest.approx((2.0, 3.0, 1.5))


def test_one_json_object_is_printed(capsys):
    print_result("demo", {"a": {"value": 2.0, "low": 1.0, "high": 3.0, "pairs": 4}}, {"n": 1})
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"benchmark", "machine", "ratios", "details"}
    assert printed["machine"]["num_cores"] == machine()["num_cores"]


def test_what_noise_has_made_negative_is_named_and_no_ratio(capsys):
    """A difference of two times may come out below zero; JSON knows no NaN."""
    few, many = np.array([2.0, 4.0]), np.array([1.0, -1.0])
    noisy, no_rates = compared_rates(few, many, 8)
    good, rates = compared_rates(few, np.array([1.0, 2.0]), 8)
    assert no_rates == {"num_images": 8}
    assert rates == {"num_images": 8, "bare_images_per_s": 8 / 3, "ray_images_per_s": 8 / 1.5}
    print_result("demo", {"noisy": noisy, "good": good}, {"n": 1})
    printed = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert set(printed["ratios"]) == {"good"}
    assert printed["details"] == {"n": 1, "too_noisy": ["noisy"]}


def test_arms_are_timed_by_turns_after_a_first_run():
    order, ticks = [], itertools.count()
    arms = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = by_turns(arms, 3, clock=lambda: float(next(ticks)))
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert {name: values.tolist() for name, values in seconds.items()} == {name: [1.0] * 3 for name in "abc"}
