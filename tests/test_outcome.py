"""result.json: running first, then how it ended; a refusal puts it back, and the file of another run is left alone."""

import json
import os
import signal
from pathlib import Path

import pytest

from flowerti import stopping
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.run_lock import HeldLock, this_process
from flowerti.outcome import recorded


class Recorded:
    """A run that does what a test says."""

    def __init__(self, folder: Path) -> None:
        self.run = RunDirectory(str(folder))
        self.lock = HeldLock(self.run, this_process(), lambda _text: None)
        self.stage = ""

    def does(self, work: BaseException | str) -> None:
        """Raise the error, or end with the stage."""
        with recorded(self.run, self.lock, lambda: self.stage) as outcome:
            assert self.result["state"] == "running"
            assert (self.result["pid"], self.result["host"]) == (os.getpid(), os.uname().nodename)
            self.stage = "classify"
            if isinstance(work, BaseException):
                raise work
            outcome.stage, outcome.reason = work, "because"

    @property
    def result(self) -> dict[str, object]:
        return json.loads(self.run.read_bytes("result.json"))


@pytest.fixture
def one(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def test_what_is_done_says_its_last_stage(one: Recorded):
    one.does("sample")
    assert one.result == {"state": "done", "stage": "sample", "reason": "because"}


def test_what_failed_says_where_and_why(one: Recorded):
    one.run.write_bytes("result.json", b'{"state": "done"}')
    with pytest.raises(ValueError, match="weights"):
        one.does(ValueError("weights of\n the classifier"))
    assert one.result == {"state": "failed", "stage": "classify", "reason": "weights of the classifier"}


def test_a_mistake_of_the_program_leaves_its_traceback_without_secrets(one: Recorded):
    with pytest.raises(KeyError):
        one.does(KeyError("s3://key:secret@bucket"))
    assert one.result["state"] == "failed"
    assert "test_outcome.py" in str(one.result["traceback"]) and "secret" not in json.dumps(one.result)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (stopping.Stopped(signal.SIGTERM), "SIGTERM"),
        (KeyboardInterrupt(), "SIGINT"),
    ],
)
def test_what_was_stopped_says_so(error: BaseException, name: str, one: Recorded, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stopping, "_received", [])
    with pytest.raises(type(error)):
        one.does(error)
    assert (one.result["state"], one.result["stage"]) == ("stopped", "classify")
    assert one.result["signal"] == name


def test_a_library_that_exits_has_failed(one: Recorded, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stopping, "_received", [])
    with pytest.raises(SystemExit):
        one.does(SystemExit(1))
    assert one.result["state"] == "failed" and "SystemExit(1)" in str(one.result["reason"])


@pytest.mark.parametrize("before", [None, b'{"state": "done", "stage": "report", "reason": ""}'])
def test_a_refusal_before_the_first_stage_puts_back_what_was_there(before: bytes | None, tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    if before is not None:
        run.write_bytes("result.json", before)
    lock = HeldLock(run, this_process(), lambda _text: None)
    with pytest.raises(ValueError, match="missing"), recorded(run, lock, lambda: ""):
        raise ValueError("base.path is missing")
    assert (run.read_bytes("result.json") if run.exists("result.json") else None) == before


def test_the_file_of_who_took_over_is_left_alone(one: Recorded):
    def take_over() -> None:
        with recorded(one.run, one.lock, lambda: "sample"):
            one.lock.lost = "taken over"
            one.run.write_bytes("result.json", b"the other's")
            raise stopping.Stopped(signal.SIGTERM)

    with pytest.raises(stopping.Stopped):
        take_over()
    assert one.run.read_bytes("result.json") == b"the other's"


def test_a_disk_that_is_full_does_not_hide_why_the_run_failed(one: Recorded, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def work() -> None:
        with recorded(one.run, one.lock, lambda: "sample"):
            monkeypatch.setattr(RunDirectory, "write_json", fail)
            raise KeyError("why")

    with pytest.raises(KeyError, match="why") as caught:
        work()
    assert "result.json could not be written" in caught.value.__notes__[0]
