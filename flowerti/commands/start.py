"""Which experiment is meant: a folder of images, a preset, a config file, or what was started in a run directory.

This module does not know what is done with the experiment.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import find_config
from flowerti.config.experiment import Experiment, from_json, from_toml
from flowerti.config.presets import preset
from flowerti.option_parser import OneLineParser, parse_options
from flowerti.tables import load_plugins

SETTINGS_HELP = "Every setting of an experiment, with the values that it would have; `flowerti run --help` is shorter."
NO_BASE = (
    "needs a text-to-image base to learn tokens on and draw with: name one with --base PATH, a folder in Stable "
    "Diffusion's layout; --base demo is a toy that knows drawn flowers, to try things out"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """An experiment that is about to be run or looked at."""

    experiment: Experiment
    run: RunDirectory
    lines: tuple[str, ...] = ()
    """What a person should know about how its settings were chosen."""


def start_parser(command: str) -> OneLineParser:
    """Which experiment is meant; help and everything else are left to others."""
    parser = OneLineParser(prog=command, add_help=False, allow_abbrev=False)
    add_named(parser)
    return parser


def add_named(parser: argparse.ArgumentParser) -> None:
    """The options that name an experiment which is described somewhere."""
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--preset")
    start.add_argument("--config")
    parser.add_argument("--plugins", nargs="*", default=[])


def split(arguments: Sequence[str], command: str, *switches: str) -> tuple[argparse.Namespace, list[str]]:
    """What concerns a run as a whole, and the settings of the experiment.

    Args:
        arguments: of the command; a folder comes first, or right after options that are no settings.
        command: as help calls it.
        switches: further options without a value.

    Returns:
        The options, with `folder` among them, which is empty where none is named; and what is left.
    """
    parser = start_parser(command)
    parser.add_argument("--base", default="")
    parser.add_argument("--run-dir", default="")
    parser.add_argument("--until", default="")
    for switch in switches:
        parser.add_argument(switch, action="store_true")
    values, rest = parser.parse_known_args(arguments)
    values.folder = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    named = [name for name in ("preset", "config") if getattr(values, name) is not None]
    if values.folder and named:
        raise ValueError(f"--{named[0]} and the folder {values.folder} are two experiments: give one of them")
    return values, rest


def find_start(values: argparse.Namespace, rest: Sequence[str], command: str, *, address: str | None = None) -> Start:
    """The experiment that the options mean, and its run directory.

    Args:
        values: what `split` found.
        rest: the settings of the experiment.
        command: as help calls it.
        address: replaces the cluster's address where the options do not name one.

    Raises:
        ValueError: none is named, or what is named cannot be used; says what to do.
    """
    load_plugins(values.plugins)
    if values.folder:
        return _of_folder(values, rest, command, address)
    started = RunDirectory(values.run_dir) if values.run_dir else None
    experiment = named_experiment(values)
    if experiment is None and started is not None:
        experiment = find_config(started)
    if experiment is None:
        nowhere = f": no run was started in {values.run_dir}" if values.run_dir else ""
        raise ValueError(
            f"nothing to {command.split()[-1]}{nowhere}: give a FOLDER of images and --base PATH, or --preset demo, or "
            f"--config FILE, or the --run-dir of a run that was started: see `{command} --help`"
        )
    experiment = overridden(_on(_with_base(_with_plugins(experiment, values), values.base), address), rest, command)
    return Start(experiment=experiment, run=started or RunDirectory(f"runs/{experiment.name}"))


def _of_folder(values: argparse.Namespace, rest: Sequence[str], command: str, address: str | None) -> Start:
    """The run that was started on a folder, or else one whose settings are chosen."""
    from flowerti.choosing.own_run import choose_run, chosen_lines, is_same_data, run_name

    started = RunDirectory(values.run_dir or f"runs/{_option('--name', rest) or run_name(values.folder)}")
    saved = find_config(started)
    if saved is not None and is_same_data(saved, values.folder):
        experiment = overridden(_on(_with_base(_with_plugins(saved, values), values.base), address), rest, command)
        line = f"goes on with the settings with which the run in {started.uri} was started"
        return Start(experiment=experiment, run=started, lines=(line,))
    base = values.base or _option("--base.path", rest)
    if not base:
        raise ValueError(f"{values.folder} {NO_BASE}")
    own = choose_run(values.folder, base, tuple(values.plugins))
    experiment = overridden(_on(own.experiment, address), rest, command)
    return Start(experiment=experiment, run=started, lines=tuple(chosen_lines(own, experiment)))


def named_experiment(values: argparse.Namespace) -> Experiment | None:
    """The experiment of a preset or a config file; None where neither is named."""
    load_plugins(values.plugins)
    if values.config is not None:
        return _with_plugins(_read_config(values.config), values)
    return None if values.preset is None else _with_plugins(preset(values.preset), values)


def overridden(experiment: Experiment, arguments: Sequence[str], command: str) -> Experiment:
    """The experiment with the settings that options change.

    Raises:
        ValueError: an option is unknown, or a value is wrong; names it.
    """
    return parse_options(Experiment, prog=command, description=SETTINGS_HELP, default=experiment, arguments=arguments)


def _with_plugins(experiment: Experiment, values: argparse.Namespace) -> Experiment:
    return replace(experiment, plugins=tuple(dict.fromkeys([*experiment.plugins, *values.plugins])))


def _with_base(experiment: Experiment, path: str) -> Experiment:
    return replace(experiment, base=replace(experiment.base, path=path)) if path else experiment


def _on(experiment: Experiment, address: str | None) -> Experiment:
    if address is None:
        return experiment
    return replace(experiment, cluster=replace(experiment.cluster, address=address))


def _option(name: str, arguments: Sequence[str]) -> str:
    """The value of an option among others; empty where it is not given."""
    for place, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
    return ""


def _read_config(file_name: str) -> Experiment:
    try:
        text = Path(file_name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--config: {file_name} cannot be read: {error}") from error
    read = from_toml if file_name.endswith(".toml") else from_json
    return read(text, file_name=file_name)
