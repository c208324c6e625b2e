"""Ends the process when SIGTERM or Ctrl-C asks for it: at any moment, within seconds, with nothing left behind.

The main thread is told by an exception, so that every `finally` does its part. Where it does not end in time, as in a
library's call that blocks or swallows the exception, a thread runs what was registered with `at_forced_end` and ends
the process itself. This module does not know what is cleaned up.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_S = 5.0
"""How long the main thread may take to end by itself."""
_FORCED_END_S = 3.0
_AGAIN_AFTER_S = 1.0
"""A signal this long after the first is somebody's impatience, not the same signal from a process group."""
_EXIT_CODE_OF_SIGNALS = 128
_NOTED_WITHIN_S = 0.2
"""The thread that watches knows of a signal by then."""

_cleanups: list[Callable[[], None]] = []
_watching: list["Stops"] = []
_received: list[int] = []
_reasons: list[str] = []
"""Why the process was interrupted, where that was not a signal from outside."""


class Stopped(BaseException):
    """A signal asks the process to end; no `Exception`, so that no handler of failures takes it for one."""

    def __init__(self, number: int) -> None:
        """Takes the signal's number."""
        super().__init__(f"stopped by {name_of(number)}")
        self.number = number


def name_of(number: int) -> str:
    """What a signal is called."""
    return "Ctrl-C (SIGINT)" if number == signal.SIGINT else signal.Signals(number).name


def sentence(number: int) -> str:
    """What is said where a signal ended a command."""
    return f"stopped by {name_of(number)}: what a run has finished is kept, and the same command goes on from there"


def exit_code_of(number: int) -> int:
    """130 for Ctrl-C and 143 for SIGTERM, as shells have it."""
    return _EXIT_CODE_OF_SIGNALS + number


def last_signal() -> int:
    """The number of the signal that came last; a bare interrupt is Ctrl-C."""
    return _received[-1] if _received else signal.SIGINT


def is_signalled(error: BaseException) -> bool:
    """Whether a signal ended the process's work; a library that has the handler then raises `SystemExit`."""
    if isinstance(error, SystemExit) and not _received:
        time.sleep(_NOTED_WITHIN_S)
    return isinstance(error, Stopped | KeyboardInterrupt) or (isinstance(error, SystemExit) and bool(_received))


def ended(code: int) -> int:
    """Leave the interpreter at once where a signal ended the command; otherwise the code comes back.

    All is cleaned up by then, and threads that are still at work would keep the interpreter from its end.
    """
    if code in [exit_code_of(number) for number in SIGNALS]:
        sys.stdout.flush()
        os._exit(code)
    return code


@contextmanager
def at_forced_end(cleanup: Callable[[], None]) -> Iterator[None]:
    """Have a function run, in another thread, if the process has to be ended while the block runs; newest first."""
    _cleanups.append(cleanup)
    try:
        yield
    finally:
        _cleanups.remove(cleanup)


def interrupt(reason: str) -> None:
    """Ask the main thread to end, from another thread; the reason is printed where it does not do so in time."""
    _reasons.append(reason)
    # a real signal, which also ends a wait of the system; a program of someone else's answers to Ctrl-C at least
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM if _watching else signal.SIGINT)


class Stops:
    """What came in while signals were watched."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Takes what prints the line of a forced end."""
        self.number: int | None = None
        """The first signal that came; None without one."""
        self._tell, self._is_raised = tell, False
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._first_s = 0.0

    @property
    def fd(self) -> int:
        """Where the interpreter writes the number of a signal, also while the main thread is blocked."""
        return self._write_end

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """The handler of signals, called in the main thread: raises once, and leaves later signals to the thread."""
        self._note(number)
        if not self._is_raised:
            self._is_raised = True
            raise Stopped(number)

    def watch(self) -> None:
        """What the thread does: waits for a signal, then for the process to end."""
        deadline_s: float | None = None
        while True:
            left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            ready, _, _ = select.select([self._read_end], [], [], left_s)
            if not ready:
                self._force()
            for number in os.read(self._read_end, 64):
                if number == 0:
                    return
                if number not in SIGNALS:
                    continue
                now_s = time.monotonic()
                if deadline_s is None:
                    self._note(number)
                    self._first_s = now_s
                    deadline_s = now_s + GRACE_S
                elif now_s - self._first_s > _AGAIN_AFTER_S:
                    self._force()

    def _note(self, number: int) -> None:
        self.number = self.number or number
        _received.append(self.number)

    def _force(self) -> None:
        worker = threading.Thread(target=_clean_up, daemon=True)
        worker.start()
        worker.join(_FORCED_END_S)
        number = self.number or signal.SIGTERM
        try:
            self._tell(_reasons[-1] if _reasons else sentence(number))
        finally:
            os._exit(3 if _reasons else exit_code_of(number))

    def raise_no_more(self) -> None:
        """The command is at its end: a signal that comes now has nothing to interrupt."""
        self._is_raised = True

    def close(self) -> None:
        """End the thread's wait."""
        os.write(self._write_end, b"\0")


def _clean_up() -> None:
    for cleanup in reversed(_cleanups):
        # the process ends in any case, and what one of them cannot do must not keep the others from their part
        with suppress(Exception):
            cleanup()


@contextmanager
def stops_watched(tell: Callable[[str], None]) -> Iterator[Stops]:
    """Turn SIGTERM and Ctrl-C into `Stopped` while the block runs; in a thread that is not the main one, do nothing.

    A signal that was ignored when the process was started, as by nohup, stays ignored.

    Args:
        tell: prints the line of an end that had to be forced.
    """
    stops = Stops(tell)
    if threading.current_thread() is not threading.main_thread():
        yield stops
        return
    _received.clear()
    _reasons.clear()
    _watching.append(stops)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    fd_before = signal.set_wakeup_fd(stops.fd, warn_on_full_buffer=False)
    thread = threading.Thread(target=stops.watch, name="stops", daemon=True)
    thread.start()
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, stops.handle)
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(fd_before)
        _watching.remove(stops)
        stops.close()
        thread.join()


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put the handlers of signals back that a library replaces while the block runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
