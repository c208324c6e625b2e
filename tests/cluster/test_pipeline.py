"""The whole run on real Ray with a random base and few images: what is made, what is made again, and what is not.

Numbers mean nothing here, only whether they are the same. `pytest -m slow` adds a killed driver in every stage.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import tiny_experiment, without_times

from flowerti.artifacts import layout
from flowerti.artifacts.identity import slug
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster import session
from flowerti.config.experiment import Experiment, to_json
from flowerti.personalization.checkpoints import to_bytes
from flowerti.personalization.train_state import state_from
from flowerti.pipeline import run_experiment
from flowerti.report import validate_summary

pytestmark = pytest.mark.ray
_RAY_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
STAGES = ("classify", "personalize.textual_inversion", "personalize.lora", "sample", "score", "sweep")


def run(experiment: Experiment, folder: Path) -> dict:
    run_experiment(experiment, RunDirectory(str(folder)))
    return json.loads((folder / "summary.json").read_text())


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.glob(pattern))}


@pytest.fixture(scope="module")
def finished(tiny_base, tmp_path_factory) -> Path:
    # its parent holds no other run of this data
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(tiny_experiment(tiny_base), folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_run_leaves_everything_that_the_contract_names(finished):
    summary = json.loads((finished / "summary.json").read_text())
    validate_summary(summary)
    weak = [selected["class_name"] for selected in summary["selected"]]
    assert len(weak) == 3
    for name in weak:
        folder = finished / "concepts" / slug(name)
        assert {p.name for p in folder.iterdir() if p.is_file()} == {
            "textual_inversion.json",
            "learned_embeds.safetensors",
            "lora.json",
            "pytorch_lora_weights.safetensors",
        }
    assert len(contents(finished, "synthetic/*.parquet")) >= 3 * 3 * 2
    assert [adapter["error"] for adapter in summary["adapters"]] == [""] * 3
    # one row each, and three nearest rows of others: there are only two
    near = {(row["class_name"], row["other_class_name"]) for row in summary["concept_neighbours"]}
    assert near == {(name, other) for name in weak for other in weak if name != other}
    splits = {(row["split"], row["arm"]) for row in summary["sweep"]}
    assert {
        ("validation", "real"),
        ("validation", "token"),
        ("test", "real"),
        ("test", "token"),
        ("test", "lora"),
    } <= splits
    assert {d["reference"] for d in summary["distances"]} == {"validation", "test"}
    seen = summary["test_openings"]
    assert (seen["own"], seen["siblings"], seen["before_intent"], summary["plan_changes"]) == (2, 0, 0, [])
    (plan,) = (finished / "sweep" / "intent").iterdir()
    of_test = [p for p in finished.glob("features/*/real.test.*/*")]
    assert of_test and min(p.stat().st_mtime_ns for p in of_test) > plan.stat().st_mtime_ns
    page = (finished / "report.html").read_text()
    assert all(name in page for name in weak)
    assert not list(finished.rglob(".tmp-*"))


def test_the_same_command_again_does_nothing_and_says_the_same(copy, tiny_base, monkeypatch):
    monkeypatch.setattr(session, "connect", lambda config: pytest.fail("Ray was started"))
    for stage in ("classify", "personalize", "sample", "features", "sweep"):
        monkeypatch.setattr(f"flowerti.cluster.{stage}.connect", lambda config: pytest.fail("Ray was started"))
    before = (copy / "summary.json").read_bytes()
    run(tiny_experiment(tiny_base), copy)
    assert (copy / "summary.json").read_bytes() == before


def test_a_deleted_concept_is_learnt_again_and_nothing_else_is(copy, tiny_base):
    before = json.loads((copy / "summary.json").read_text())
    lost = slug(before["selected"][1]["class_name"])
    embeddings = (copy / "concepts" / lost / "learned_embeds.safetensors").read_bytes()
    shutil.rmtree(copy / "concepts" / lost)
    times = {p: p.stat().st_mtime_ns for p in copy.rglob("*") if p.is_file()}
    after = run(tiny_experiment(tiny_base), copy)
    assert (copy / "concepts" / lost / "learned_embeds.safetensors").read_bytes() == embeddings
    untouched = [p for p in times if p.parent.name in ("synthetic", "trials", *os.listdir(copy / "concepts"))]
    assert untouched
    assert all(p.stat().st_mtime_ns == times[p] for p in untouched)
    assert without_times(after) == without_times(before)


def test_a_changed_setting_redoes_what_depends_on_it(copy, tiny_base):
    experiment = tiny_experiment(tiny_base)
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*") if p.is_file()}
    run(replace(experiment, sampling=replace(experiment.sampling, num_per_class=8)), copy)

    def redone(pattern: str) -> list[bool]:
        return [before.get(p) != p.stat().st_mtime_ns for p in copy.glob(pattern) if p.is_file()]

    assert not any(redone("concepts/*/*"))
    assert not any(redone("classifier/*"))
    # the first batch of four is the same; the second grew from two images to four
    assert not any(redone("synthetic/*.000000.parquet"))
    assert all(redone("synthetic/*.000004.parquet"))
    assert not any(redone("sweep/trials/validation.real.*"))
    assert all(redone("sweep/trials/validation.token.*"))


def test_one_worker_and_two_give_the_same_numbers_and_images(finished, tiny_base, tmp_path):
    folder = tmp_path / "run"
    summary = run(tiny_experiment(tiny_base, num_workers=1), folder)
    patterns = ["concepts/*/*.safetensors", "synthetic/*.parquet", "features/**/*.safetensors", "scores/*.json"]
    for pattern in [*patterns, "sweep/intent/*.json", "test_openings/*.json"]:
        assert contents(folder, pattern) == contents(finished, pattern) != {}
    assert without_times(summary) == without_times(json.loads((finished / "summary.json").read_text()))


def test_a_class_that_fails_is_reported_and_the_others_finish(copy, tiny_base):
    names = [s["class_name"] for s in json.loads((copy / "summary.json").read_text())["selected"]]
    folder = copy / "concepts" / slug(names[0])
    key = json.loads((folder / "textual_inversion.json").read_text())["key"]
    (rows,) = load_file(folder / "learned_embeds.safetensors").values()
    shutil.rmtree(folder)
    diverged = to_bytes(state_from(torch.full_like(rows, torch.nan), keeps_start=False), key)
    RunDirectory(str(copy)).write_checked(layout.checkpoint(names[0], "textual_inversion"), diverged)
    summary = run(tiny_experiment(tiny_base), copy)
    (failure,) = [f for f in summary["failures"] if f["class_name"] == names[0]]
    assert "not finite at step 0" in failure["reason"]
    assert {d["class_name"] for d in summary["distances"] if d["source"] == "token"} == set(names[1:])
    assert {row["arm"] for row in summary["sweep"]} >= {"real", "raw", "token"}


def kill_driver_in(stage: str, experiment: Experiment, folder: Path, delay_s: float) -> None:
    """Start the run as a process and kill it, and its Ray, some time after it says that the stage began."""
    config = folder.parent / "config.json"
    config.write_text(to_json(experiment))
    command = [sys.executable, "-m", "flowerti.cli", "run", "--config", str(config), "--run-dir", str(folder)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert driver.stdout is not None
    for line in driver.stdout:
        if f"[{stage}]" in line:
            time.sleep(delay_s)
            break
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 20
    # Ray's own processes notice the lost driver and end; nothing of the session may be left behind
    while _alive_in_session(driver.pid) and time.monotonic() < deadline:
        time.sleep(0.5)
    leftover = _alive_in_session(driver.pid)
    for pid in leftover:
        os.kill(pid, signal.SIGKILL)
    # Ray's own agents sometimes outlive a killed driver (LOG.md); no worker may
    assert not [name for name in leftover.values() if not name.startswith(_RAY_AGENTS)]


def _alive_in_session(session_id: int) -> dict[int, str]:
    import psutil

    found = {}
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.pid != session_id and os.getsid(process.pid) == session_id:
                found[process.pid] = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


@pytest.mark.parametrize("stage", [s if s == STAGES[1] else pytest.param(s, marks=pytest.mark.slow) for s in STAGES])
def test_a_killed_driver_loses_nothing_that_was_finished(stage, finished, tiny_base, tmp_path):
    experiment = tiny_experiment(tiny_base)
    folder = tmp_path / "run"
    kill_driver_in(stage, experiment, folder, delay_s=1.0)
    assert not (folder / "summary.json").exists()
    kept = {p: p.stat().st_mtime_ns for p in folder.glob("concepts/*/*.json")}
    kept |= {p: p.stat().st_mtime_ns for p in folder.glob("synthetic/*.parquet")}
    summary = run(experiment, folder)
    assert all(p.stat().st_mtime_ns == changed for p, changed in kept.items())
    assert without_times(summary) == without_times(json.loads((finished / "summary.json").read_text()))
