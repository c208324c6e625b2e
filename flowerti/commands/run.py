"""`flowerti run`: an experiment, or what is missing of it, up to a stage.

This module does not know the stages.
"""

import shlex

from flowerti.artifacts import layout
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.commands.run_help import tell_all, tell_help
from flowerti.commands.start import Start, find_start, split
from flowerti.config.experiment import Experiment
from flowerti.progress import Progress

_COMMAND = "flowerti run"


def run(arguments: list[str], *, address: str | None = None, until: str | None = None) -> int:
    """Run an experiment up to a stage.

    Args:
        arguments: the options.
        address: replaces the cluster's address where the options do not name one.
        until: the last stage, where the options do not name one; by default all are run.
    """
    if {"-h", "--help"} & set(arguments):
        tell_help()
    if "--help-all" in arguments:
        tell_all([argument for argument in arguments if argument != "--help-all"])
    start, named_until, take_over = read_start(arguments, address)
    carry_out(start, named_until or until or "report", take_over=take_over)
    return 0


def carry_out(start: Start, last: str, *, take_over: bool = False) -> None:
    """Run an experiment up to its stage `last`, and show how far it is, and at the end what to do next.

    Raises:
        ValueError: something about the input is wrong, or another run holds the directory. Whatever ends a later stage
            is raised as it is.
    """
    from flowerti.pipeline import STAGES, run_experiment
    from flowerti.progress_bars import shown

    with shown(STAGES) as listen:
        begun = Progress("run", [listen])
        for line in start.lines:
            begun.info(line)
        ended_with = run_experiment(start.experiment, start.run, [listen], last, take_over=take_over)
        _tell_end(start.run, ended_with, last, Progress("done", [listen]))


def _tell_end(run: RunDirectory, ended_with: str, last: str, done: Progress) -> None:
    if ended_with == "report":
        summary = run.read_json(layout.SUMMARY)
        done.info(f"recommended ratio {summary['recommended_ratio']:g}: {summary['recommendation']}")
        done.info(f"report: {run.uri.rstrip('/')}/{layout.PAGE}")
    done.info(f"next: {_next_command(run, ended_with, last)}")


def _next_command(run: RunDirectory, ended_with: str, last: str) -> str:
    """The command that a person would give after a run."""
    from flowerti.pipeline import STAGES

    if ended_with == "report":
        return f"flowerti open {shlex.quote(run.uri)}"
    goes_on = "" if ended_with == last else " --ceiling.goes-on"
    following = STAGES[STAGES.index(ended_with) + 1]
    return f"flowerti run --run-dir {shlex.quote(run.uri)}{goes_on} (goes on with {following})"


def parse_run(arguments: list[str], *, address: str | None = None) -> tuple[Experiment, RunDirectory]:
    """Turn the options of `run` into an experiment and its run directory.

    Raises:
        ValueError: an option, preset, file or value is wrong.
    """
    start, _, _ = read_start(arguments, address)
    return start.experiment, start.run


def read_start(arguments: list[str], address: str | None = None) -> tuple[Start, str, bool]:
    """What is to be run, the stage that is named as the last, and whether to take the directory over.

    Raises:
        ValueError: as `parse_run`.
    """
    values, rest = split(arguments, _COMMAND, "--take-over")
    start = find_start(values, rest, _COMMAND, address=address)
    return start, values.until, values.take_over
