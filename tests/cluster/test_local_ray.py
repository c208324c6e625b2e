"""Ray on this machine: its processes and files are gone when it ends, and its token is its owner's alone.

Most is tried with a stand-in; what is marked `ray` interrupts the real one, while it starts and while it works.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flowerti.cluster import local_ray
from flowerti.cluster.local_ray import LocalProcesses, end_local_ray, protect_token, start_local_ray
from flowerti.cluster.scratch import scratch_folder
from flowerti.cluster.session import _ENVIRONMENT

ROOT = Path(__file__).parents[2]
VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_ADDRESS")


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C, and so would the processes of these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o077])
def test_a_new_token_is_its_owners_alone(umask: int, home: Path):
    before = os.umask(umask)
    try:
        protect_token()
    finally:
        os.umask(before)
    token = home / ".ray" / "auth_token"
    assert mode_of(token) == 0o600
    assert mode_of(token.parent) == 0o700
    assert len(token.read_text()) == 64 and int(token.read_text(), 16)
    made = token.read_text()
    protect_token()
    assert token.read_text() == made


def test_a_token_that_ray_made_is_closed_and_kept(home: Path):
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("f" * 64)
    token.chmod(0o644)
    protect_token()
    assert (mode_of(token), token.read_text()) == (0o600, "f" * 64)


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_TOKEN_PATH", "/x"), ("RAY_AUTH_MODE", "disabled")]
)
def test_no_token_is_made_where_it_is_elsewhere_or_not_wanted(
    name: str, value: str, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(name, value)
    protect_token()
    assert list(home.iterdir()) == []


def test_a_scratch_folder_is_its_owners_alone_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = os.umask(0)
    try:
        with scratch_folder("tune") as folder:
            assert Path(folder).name.startswith("flowerti-tune-")
            assert mode_of(Path(folder)) == 0o700
            Path(folder, "inner").mkdir()
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


_SLEEP = "import time; time.sleep(300)"
_PARENT = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {_SLEEP!r}]); "
_PARENT += "print('up', flush=True); time.sleep(300)"


def start_parent() -> subprocess.Popen[str]:
    """A process with a process of its own."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None and parent.stdout.readline() == "up\n"
    return parent


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def others() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes of whoever uses the package in a program of their own."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, home: Path) -> Any:
    """A stand-in that starts one process with a child, and at its end leaves the child behind."""

    class Ray:
        started: list[psutil.Process] = []  # noqa: RUF012
        error: BaseException | None = None
        num_failures = 1000
        """The first starts end with the error."""

        def init(self, **options: Any) -> None:
            assert options["address"] == "local"
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
            parent = start_parent()
            self.started += [psutil.Process(parent.pid), *psutil.Process(parent.pid).children()]
            if self.error is not None and len(self.started) <= 2 * self.num_failures:
                raise self.error

        def shutdown(self) -> None:
            if self.started and is_alive(self.started[0]):
                self.started[0].kill()
                self.started[0].wait()

    stand_in = Ray()
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    return stand_in


def test_what_ray_leaves_behind_is_ended_and_nothing_else(ray: Any, others: list[subprocess.Popen[str]]):
    others.append(start_parent())
    before = signal.getsignal(signal.SIGTERM)
    start_local_ray()
    assert signal.getsignal(signal.SIGTERM) == before, "Ray has taken the handler for itself"
    others.append(start_parent())
    assert len(ray.started) == 2 and all(is_alive(process) for process in ray.started)
    end_local_ray()
    assert not any(is_alive(process) for process in ray.started)
    for process in others:
        mine = psutil.Process(process.pid)
        assert is_alive(mine) and all(is_alive(child) for child in mine.children()) and mine.children()
    end_local_ray()
    assert local_ray._sessions == []


def test_a_start_that_took_too_long_is_tried_again(ray: Any):
    ray.error, ray.num_failures = Exception("The current node timed out during startup."), 2
    start_local_ray()
    assert [is_alive(process) for process in ray.started] == [False] * 4 + [True] * 2
    end_local_ray()
    assert not any(is_alive(process) for process in ray.started)


def test_a_machine_on_which_ray_does_not_start_is_told_in_one_line(ray: Any):
    ray.error = Exception("The current node timed out during startup.")
    with pytest.raises(OSError, match=r"in 3 tries: end other programs .* look into .*logs \(The current node timed"):
        start_local_ray()
    assert len(ray.started) == 6 and not any(is_alive(process) for process in ray.started)
    assert local_ray._sessions == []


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(15)])
def test_a_start_that_is_interrupted_leaves_nothing(error: BaseException, ray: Any):
    ray.error = error
    with pytest.raises(type(error)):
        start_local_ray()
    assert not any(is_alive(process) for process in ray.started)
    assert local_ray._sessions == []


def test_processes_are_found_after_they_have_lost_their_parent():
    processes = LocalProcesses()
    parent = start_parent()
    (child,) = psutil.Process(parent.pid).children()
    processes.all_started()
    processes.look()
    parent.kill()
    parent.wait()
    assert is_alive(child)
    processes.end()
    assert not is_alive(child)


def test_tune_leaves_ctrl_c_to_the_run():
    assert _ENVIRONMENT["TUNE_DISABLE_SIGINT_HANDLER"] == "1"


_REAL = """
import sys, time
from types import SimpleNamespace
from flowerti import pipeline
from flowerti.__main__ import main
from flowerti.artifacts.saved_config import write_config

def prepare(experiment, run):
    write_config(run, experiment)
    return SimpleNamespace(experiment=experiment, run=run, census=None)

def stages(study, clock):
    from flowerti.cluster.session import connect
    with clock.stage("classify"):
        print("starts", flush=True)
        connect(study.experiment.cluster)
        import ray
        print("runs", flush=True)
        ray.get(ray.remote(lambda: time.sleep(300)).remote())
    yield pipeline._Done("classify")

pipeline.prepare, pipeline._stages = prepare, stages
pipeline.census_sentences = lambda census: []
pipeline._opening = lambda study: "light"
sys.exit(main())
"""


@pytest.mark.ray
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("moment", "delay_s"), [("starts", 0.5), ("starts", 3.0), ("runs", 0.0), ("runs", 3.0)])
def test_a_signal_ends_a_real_ray_with_nothing_left(moment: str, delay_s: float, number: signal.Signals, home: Path):
    folder = home / "run"
    command = [sys.executable, "-c", _REAL, "run", "--preset", "demo", "--run-dir", str(folder), "--until", "classify"]
    command += ["--cluster.num-workers", "1", "--cluster.num-cpus-per-worker", "1"]
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    run = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    assert any(line.strip() == moment for line in run.stdout), run.communicate()
    time.sleep(delay_s)
    children = psutil.Process(run.pid).children(recursive=True)
    began = time.monotonic()
    run.send_signal(number)
    _, said = run.communicate(timeout=90)
    assert time.monotonic() - began < 10
    assert run.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number], said
    lines = [line for line in said.splitlines() if line.startswith("flowerti: ")]
    assert len(lines) == 1 and "Traceback" not in said
    time.sleep(1)
    assert [child.cmdline() for child in children if is_alive(child)] == []
    assert json.loads((folder / "result.json").read_text())["state"] == "stopped"
    assert not (folder / "lock").exists()
    token = home / ".ray" / "auth_token"
    assert not token.exists() or mode_of(token) == 0o600
