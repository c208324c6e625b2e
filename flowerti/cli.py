"""The entry point for a person: `flowerti run`, `check`, `plan`, `status`, `compare`, `verify`, `report` and others.

A command is a module of `commands`; which one is asked for is found here. Heavy packages are imported only by what
needs them, so that help answers at once.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from flowerti.artifacts import layout
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.boundary import DEBUG_OPTION, EXIT_CODES_HELP, guarded
from flowerti.commands import check, compare, doctor, export, init, open_report, plan, status
from flowerti.commands import run as run_command
from flowerti.commands.run import parse_run as parse_run
from flowerti.commands.run import run as run
from flowerti.config.presets import PRESETS
from flowerti.option_parser import OneLineParser
from flowerti.stopping import ended

_OWN_OPTIONS: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    "run": ("run an experiment on your images or a preset, or what is missing of it", run_command.run),
    "init": ("write the settings that `run FOLDER` would choose, as a commented file", init.init),
    "check": ("look at images, base and settings without starting anything", check.check),
    "plan": ("what a run would cost: hours, storage, money", plan.tell_plan),
}
"""Commands that parse their options themselves, with what they do."""
_WITH_VALUES: dict[str, tuple[str, Callable[[ArgumentParser], None], Callable[[Namespace], int]]] = {
    "status": ("how far a run is, from its run directory alone", status.add_options, status.status),
    "compare": ("what differs between two finished runs", compare.add_options, compare.compare),
    "export": ("write what a run made in the forms of other programs", export.add_options, export.export),
}
"""Commands whose options are parsed here, with what they do."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, and tells an error in one line on stderr."""
    return guarded("flowerti", _command, sys.argv[1:] if arguments is None else arguments)


def _command(arguments: list[str]) -> int:
    parser = _parser()
    values, rest = parser.parse_known_args(arguments)
    if values.command in _OWN_OPTIONS:
        return _OWN_OPTIONS[values.command][1](rest)
    if rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    if values.command == "presets":
        return presets()
    if values.command == "verify":
        from flowerti.verification import tell_verified

        return tell_verified(values.run_dir, values.json)
    if values.command == "doctor":
        return doctor.doctor()
    if values.command in _WITH_VALUES:
        return _WITH_VALUES[values.command][2](values)
    of_run = {"report": rewrite_report, "open": open_report.open_report}
    return of_run[values.command](values.run_dir)


def _parser() -> OneLineParser:
    from flowerti import __version__

    parser = OneLineParser(
        prog="flowerti",
        description="Learn tokens for weak classes and test whether they help.",
        epilog=EXIT_CODES_HELP,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"flowerti {__version__}")
    # taken by the boundary, wherever it stands
    parser.add_argument(DEBUG_OPTION, action="store_true", help="show the traceback of an error as well")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (help_text, _) in _OWN_OPTIONS.items():
        commands.add_parser(name, help=help_text, add_help=False)
    commands.add_parser("presets", help="list the ready-made experiments")
    of_run = {
        "report": "write report.html of a finished run again",
        "open": "show the report of a finished run in the browser",
    }
    for name, help_text in of_run.items():
        help_dir = "run directory: a path, s3://... or gs://..."
        commands.add_parser(name, help=help_text).add_argument("run_dir", help=help_dir)
    verify = commands.add_parser("verify", help="whether the files of a run are as they were written; 3 if not")
    verify.add_argument("run_dir", help="run directory: a path, s3://... or gs://...")
    verify.add_argument("--json", action="store_true", help="print one JSON object in place of lines")
    for name, (help_text, add_options, _) in _WITH_VALUES.items():
        add_options(commands.add_parser(name, help=help_text))
    commands.add_parser("doctor", help="what this machine has: versions, GPUs, memory, weights, disk")
    return parser


def presets() -> int:
    """List presets with the first line of their description."""
    for name, build in PRESETS.items():
        print(f"{name:24} {(build.__doc__ or '').splitlines()[0]}")
    return 0


def rewrite_report(run_dir: str) -> int:
    """Write report.html again from what a finished run left."""
    from flowerti.report.publish import republish

    republish(RunDirectory(run_dir))
    print(f"{run_dir.rstrip('/')}/{layout.PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(ended(main()))
