"""The doors under a real `ray job submit`: a head with dashboard and token authentication, started for these tests."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nodes import free_ports
from tiny_run import tiny_experiment

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import to_json
from flowerti.report import validate_summary
from flowerti.status import read_status

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


@dataclass(frozen=True)
class Head:
    """A running head: where jobs are submitted, and the environment of whoever may submit them."""

    dashboard: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # a short path: Ray's sockets lie below it, and their names may have 107 characters
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    port, dashboard_port, client_port = free_ports(3)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [*RAY, "start", "--head", "--block", f"--port={port}", "--num-cpus=3", "--num-gpus=0"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"]
    command += [f"--ray-client-server-port={client_port}", f"--temp-dir={folder}", "--object-store-memory=500000000"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        head = Head(dashboard=f"http://127.0.0.1:{dashboard_port}", environment=environment)
        _wait_for(head, process)
        yield head
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        finally:
            _end_session(process.pid)
            shutil.rmtree(folder, ignore_errors=True)


def _end_session(session_id: int) -> None:
    import psutil

    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session_id:
                process.send_signal(signal.SIGKILL)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue


def _wait_for(head: Head, process: subprocess.Popen) -> None:
    token = {"Authorization": f"Bearer {head.environment['RAY_AUTH_TOKEN']}"}
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the head ended at once"
        try:
            request = urllib.request.Request(f"{head.dashboard}/api/version", headers=token)
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError:
            time.sleep(1)
    pytest.fail("the head's dashboard did not answer within two minutes")


def submit(head: Head, *entrypoint: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [*RAY, "job", "submit", "--address", head.dashboard, "--working-dir", ".", "--", "python", *entrypoint]
    deadline = time.monotonic() + 120
    while True:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment or head.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        # on a busy machine the dashboard answers before the agent that takes jobs is up
        if "No available agent to submit job" not in done.stdout + done.stderr or time.monotonic() > deadline:
            return done
        time.sleep(5)


def result(folder: Path) -> dict[str, str]:
    return json.loads((folder / "result.json").read_text())


def test_a_stage_and_then_the_whole_run_are_submitted_as_jobs(head, tiny_base, tmp_path):
    config, folder = tmp_path / "config.json", tmp_path / "run"
    config.write_text(to_json(tiny_experiment(tiny_base)))
    first = submit(head, "ray_jobs/classify.py", "--config", str(config), "--run-dir", str(folder))
    assert first.returncode == 0, first.stdout + first.stderr
    assert "[classify]" in first.stdout
    assert result(folder) == {"state": "done", "stage": "classify", "reason": ""}
    states = {line.stage: line.state for line in read_status(RunDirectory(str(folder)))}
    assert (states["classify"], states["select"]) == ("done", "waiting")
    second = submit(head, "ray_jobs/pipeline.py", "--run-dir", str(folder))
    assert second.returncode == 0, second.stdout + second.stderr
    assert "[classify]" not in second.stdout
    validate_summary(json.loads((folder / "summary.json").read_text()))
    assert {line.state for line in read_status(RunDirectory(str(folder)))} == {"done"}


def test_a_refused_job_says_why_and_fails(head, tmp_path):
    asked = ("--preset", "demo", "--run-dir", str(tmp_path), "--base.path", str(tmp_path / "nothing"))
    refused = submit(head, "ray_jobs/pipeline.py", *asked)
    assert refused.returncode != 0
    assert f"flowerti: base.path: {tmp_path / 'nothing'}" in refused.stdout


def test_a_job_without_the_token_is_refused(head, tmp_path):
    stranger = {name: value for name, value in head.environment.items() if not name.startswith("RAY_AUTH")}
    refused = submit(head, "ray_jobs/classify.py", environment={**stranger, "HOME": str(tmp_path)})
    assert refused.returncode != 0
    assert "auth" in (refused.stdout + refused.stderr).lower()
