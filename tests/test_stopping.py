"""Signals to real processes, whatever they are doing: one line, the exit code, and nothing left within ten seconds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
WITHIN_S = 10.0
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C, and so would the processes of these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@dataclass
class Run:
    """A light run as a process of its own."""

    folder: Path
    temporary: Path
    process: subprocess.Popen[str]

    def until_ready(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "ready\n":
                return
        pytest.fail(f"it ended: {self.process.communicate()}")

    def end(self) -> tuple[int, list[str], float]:
        """The exit code, the lines on stderr, and how long it took."""
        began = time.monotonic()
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said.splitlines(), time.monotonic() - began

    @property
    def result(self) -> dict[str, object]:
        return json.loads((self.folder / "result.json").read_text())


def start(tmp_path: Path, what: str, *options: str) -> Run:
    temporary = tmp_path / "temporary"
    temporary.mkdir(exist_ok=True)
    folder = tmp_path / "run"
    command = [sys.executable, "tests/light_run.py", what, "run", "--run-dir", str(folder), "--until", "classify"]
    command += ["--preset", "demo"]
    environment = {**os.environ, "TMPDIR": str(temporary), "HOME": str(temporary), "REFRESH_EVERY_S": "0.3"}
    process = subprocess.Popen(
        [*command, *options], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    return Run(folder, temporary, process)


@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize(
    "what",
    [
        "preflight",
        "stage",
        "blocked",
        "swallowed",
        "scratch",
        "blocked scratch",
        "ray starts",
        "ray runs",
        "exits quietly",
    ],
)
def test_a_signal_ends_a_run_with_nothing_left(what: str, number: signal.Signals, tmp_path: Path):
    run = start(tmp_path, what)
    run.until_ready()
    assert run.result["state"] == "running"
    assert (run.result["pid"], run.result["host"]) == (run.process.pid, os.uname().nodename)
    children = psutil.Process(run.process.pid).children(recursive=True)
    assert len(children) == (2 if what.startswith("ray") else 0)
    assert [name for name in os.listdir(run.temporary) if name.startswith("flowerti-tune-")] or "scratch" not in what
    run.process.send_signal(number)
    code, said, seconds = run.end()
    assert seconds < WITHIN_S
    assert code == CODES[number]
    assert len(said) == 1 and said[0].startswith("flowerti: stopped by ") and number.name in said[0]
    stage = "preflight" if what == "preflight" else "classify"
    assert (run.result["state"], run.result["stage"], run.result["signal"]) == ("stopped", stage, number.name)
    assert [name for name in os.listdir(run.temporary) if name != ".ray"] == []
    assert not (run.folder / "lock").exists()
    # where nobody asks how orphans ended they stay as zombies
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []


def test_a_stopped_run_goes_on(tmp_path: Path):
    run = start(tmp_path, "stage")
    run.until_ready()
    run.process.terminate()
    assert run.end()[0] == 143
    assert (run.folder / "config.json").exists()
    again = start(tmp_path, "nothing")
    assert again.end()[:2] == (0, [])
    assert again.result == {"state": "done", "stage": "classify", "reason": ""}


def test_a_second_signal_does_not_wait(tmp_path: Path):
    run = start(tmp_path, "swallowed")
    run.until_ready()
    run.process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    run.process.send_signal(signal.SIGINT)
    code, said, seconds = run.end()
    assert (code, len(said)) == (130, 1)
    assert seconds < 2.5, "the time of grace was not waited for"


def test_a_run_in_the_background_keeps_ignoring_ctrl_c(tmp_path: Path):
    """As after nohup or `&` in a script, whose processes are started with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = start(tmp_path, "stage")
    finally:
        signal.signal(signal.SIGINT, before)
    run.until_ready()
    run.process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert run.process.poll() is None
    run.process.terminate()
    assert run.end()[0] == 143


def wait_for_handler(pid: int) -> None:
    """Until the process has a handler of SIGTERM, which the interpreter by itself has not."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        (caught,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line[:7] == "SigCgt:"]
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.002)
    pytest.fail("it has no handler")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="signals' handlers are looked up in /proc")
@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("command", [["-m", "flowerti", "status", "."], ["ray_jobs/sample.py", "--until", "nope"]])
def test_a_signal_during_the_start_is_no_traceback(command: list[str], number: signal.Signals):
    codes = []
    for delay_s in (0.0, 0.03, 0.1, 0.3):
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for_handler(process.pid)
        time.sleep(delay_s)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert "Traceback" not in said and len(said.splitlines()) <= 2
        codes.append(process.returncode)
    assert codes[:2] == [CODES[number]] * 2
    assert set(codes) <= {CODES[number], 2, -number}, "refused before the signal came, or on its way out"


def test_two_runs_are_kept_apart_and_one_takes_over(tmp_path: Path):
    first = start(tmp_path, "stage")
    first.until_ready()
    code, said, _ = start(tmp_path, "stage").end()
    assert code == 2
    assert len(said) == 1 and f"process {first.process.pid} on {os.uname().nodename}" in said[0]
    assert first.process.poll() is None and first.result["pid"] == first.process.pid
    second = start(tmp_path, "stage", "--take-over")
    second.until_ready()
    code, said, seconds = first.end()
    assert (code, len(said)) == (3, 1) and f"taken over by process {second.process.pid}" in said[0]
    assert seconds < WITHIN_S
    assert (second.result["state"], second.result["pid"]) == ("running", second.process.pid)
    second.process.kill()
    second.process.wait()
    third = start(tmp_path, "nothing")
    assert third.end()[0] == 0
    assert (third.result["state"], (third.folder / "lock").exists()) == ("done", False)


@pytest.mark.parametrize(("what", "word"), [("full disk", "no space is left"), ("mistake", "KeyError")])
def test_what_fails_is_one_line_and_recorded(what: str, word: str, tmp_path: Path):
    run = start(tmp_path, what)
    code, said, _ = run.end()
    assert (code, len(said)) == (3, 1)
    assert word in said[0] and "in stage classify" in said[0]
    assert (run.result["state"], run.result["stage"]) == ("failed", "classify")
    assert word in str(run.result["reason"])
    assert ("traceback" in run.result) == (what == "mistake")
    assert not (run.folder / "lock").exists()
    code, said, _ = start(tmp_path, what, "--debug").end()
    assert code == 3
    assert said[0].startswith("Traceback") and said[-1].startswith("flowerti: ")
