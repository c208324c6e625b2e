"""`flowerti status`: how far a run is, once or, with --watch, until it ends.

This module does not know how a run's state is found out.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.watched_run import WatchedRun
from flowerti.error_lines import FAILED

if TYPE_CHECKING:
    from flowerti.status import StageState

_CLEARED = "\x1b[H\x1b[2J\x1b[3J"
"""Empties a terminal."""
_ENDED = ("done", "failed", "stopped")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("run_dir", help="run directory: a path, s3://... or gs://...")
    help_watch = "tell it again and again until the run ends; code 3 if it failed or was stopped"
    parser.add_argument("--watch", action="store_true", help=help_watch)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks; 2 by default")


def status(values: argparse.Namespace) -> int:
    """Print a line for every stage of a run, once or until it ends.

    Raises:
        ValueError: no run was started there, or --every is no time.
    """
    from flowerti.status import read_status

    if not values.watch:
        for line in lines_of(read_status(RunDirectory(values.run_dir))):
            print(line)
        return 0
    if not (math.isfinite(values.every) and values.every > 0):
        raise ValueError(f"--every: must be a number of seconds above 0, not {values.every:g}")
    return watch(WatchedRun(values.run_dir), lambda: time.sleep(values.every))


def watch(run: WatchedRun, wait: Callable[[], None]) -> int:
    """Print the state of a run until it ends, and return the exit code.

    On a terminal the lines stand in one place; elsewhere each is printed where it is new.

    Args:
        run: the run directory.
        wait: returns when the run is to be looked at again.
    """
    from flowerti.status import read_status

    shown: list[str] = []
    while True:
        states = read_status(run)
        lines = lines_of(states)
        _show(lines, shown)
        shown, ended = lines, _ended(states)
        if ended:
            return 0 if ended == "done" else FAILED
        wait()
        run.look_again()


def lines_of(states: "Sequence[StageState]") -> list[str]:
    """A line for each stage."""
    return [f"{line.state:8} {line.stage:28} {line.detail}".rstrip() for line in states]


def _show(lines: Sequence[str], before: Sequence[str]) -> None:
    if sys.stdout.isatty():
        print(_CLEARED + "\n".join(lines), flush=True)
        return
    for line in lines:
        if line not in before:
            print(line, flush=True)


def _ended(states: "Sequence[StageState]") -> str:
    """How the run ended; empty while it is at work, or before a run has said that it is."""
    return next((line.state for line in states if line.stage == "run" and line.state in _ENDED), "")
