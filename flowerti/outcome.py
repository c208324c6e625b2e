"""Keeps `result.json`: that a run is at work in the directory, and how the last one ended.

A run that was refused before its first stage changes nothing: what the file said is put back. This module does not
know the stages.
"""

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flowerti import stopping
from flowerti.artifacts import layout
from flowerti.artifacts.masking import masked
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.run_lock import HeldLock
from flowerti.error_lines import ErrorLine, error_line

RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"
PREFLIGHT = "preflight"
"""Where a run is before its first stage."""
_MAX_REASON_LENGTH = 2000


@dataclass(slots=True)
class Outcome:
    """What a run says about its end, where nothing went wrong."""

    stage: str = ""
    """The stage that it ended with."""
    reason: str = ""
    """Why it ended there."""


class _ResultFile:
    def __init__(self, run: RunDirectory, lock: HeldLock, stage_now: Callable[[], str]) -> None:
        self._run, self._lock, self._stage_now = run, lock, stage_now
        self._before = run.read_bytes(layout.RESULT) if run.exists(layout.RESULT) else None

    def write(self, state: str, stage: str, reason: str, **more: str | int) -> None:
        if not self._lock.lost:  # the file is the new owner's
            self._run.write_json(layout.RESULT, {"state": state, "stage": stage, "reason": reason, **more})

    def begin(self) -> None:
        owner = self._lock.owner
        self.write(RUNNING, "", "", host=owner.host, pid=owner.pid, started=owner.started)

    def stopped(self, error: BaseException | None = None) -> None:
        number = error.number if isinstance(error, stopping.Stopped) else stopping.last_signal()
        self.write(STOPPED, self._stage, f"stopped by {stopping.name_of(number)}", signal=signal.Signals(number).name)

    def ended_with(self, error: BaseException) -> None:
        if stopping.is_signalled(error):
            self.stopped(error)
        else:
            self.write(FAILED, self._stage, f"a library ended the process: {error!r}")

    def failed_with(self, error: Exception) -> None:
        line = error_line(error, _MAX_REASON_LENGTH)
        if isinstance(error, ValueError) and self._stage == PREFLIGHT:
            self._put_back()
        else:
            self.write(FAILED, self._stage, line.text, **_traceback(error, line))

    @property
    def _stage(self) -> str:
        return self._stage_now() or PREFLIGHT

    def _put_back(self) -> None:
        if self._before is None:
            self._run.delete(layout.RESULT)
        else:
            self._run.write_bytes(layout.RESULT, self._before)


def _traceback(error: Exception, line: ErrorLine) -> dict[str, str]:
    """What is needed to find a mistake in the program, after a terminal or a cluster is gone."""
    return {} if line.is_expected else {"traceback": masked("".join(traceback.format_exception(error)))}


@contextmanager
def recorded(run: RunDirectory, lock: HeldLock, stage_now: Callable[[], str]) -> Iterator[Outcome]:
    """Keep result.json while a run is at work; it yields what the run fills in before it ends.

    Args:
        run: the run directory.
        lock: the run's lock on it.
        stage_now: the stage that was begun last; empty before the first.
    """
    file, outcome = _ResultFile(run, lock, stage_now), Outcome()
    with stopping.at_forced_end(file.stopped):
        file.begin()
        try:
            yield outcome
        except Exception as error:
            _although(error, lambda: file.failed_with(error))
            raise
        except BaseException as error:
            _although(error, lambda: file.ended_with(error))
            raise
        file.write(DONE, outcome.stage, outcome.reason)


def _although(error: BaseException, write: Callable[[], None]) -> None:
    """Write, and where that fails as well tell it beside the error that is on its way."""
    try:
        write()
    except (OSError, ValueError) as second:
        error.add_note(f"{layout.RESULT} could not be written: {error_line(second).text}")
