"""The door for a person: `flowerti run`, `plan`, `status`, `report` and `presets`.

Options of `run` are generated from the dataclasses of `config`, with the preset's values as defaults. Heavy packages
are imported only by what needs them, so that help answers at once.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import Experiment, from_json
from flowerti.config.presets import PRESETS, preset


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, 2 for input that was refused."""
    from flowerti import __version__

    parser = argparse.ArgumentParser(
        prog="flowerti", description="Learn tokens for weak classes and test whether they help."
    )
    parser.add_argument("--version", action="version", version=f"flowerti {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run an experiment, or what is missing of it", add_help=False)
    commands.add_parser("presets", help="list the ready-made experiments")
    report = commands.add_parser("report", help="write report.html of a finished run again")
    report.add_argument("run_dir", help="run directory: a path, s3://... or gs://...")
    status = commands.add_parser("status", help="how far a run is, from its run directory alone")
    status.add_argument("run_dir", help="run directory: a path, s3://... or gs://...")
    commands.add_parser("plan", help="what a run would cost: hours, storage, money", add_help=False)
    values, rest = parser.parse_known_args(arguments)
    if values.command not in ("run", "plan") and rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    try:
        if values.command == "run":
            return run(rest)
        if values.command == "plan":
            return tell_plan(rest)
        if values.command == "presets":
            return presets()
        return tell_status(values.run_dir) if values.command == "status" else rewrite_report(values.run_dir)
    except ValueError as error:
        print(f"flowerti: {error}", file=sys.stderr)
        return 2


def presets() -> int:
    """List presets with the first line of their description."""
    for name, build in PRESETS.items():
        print(f"{name:24} {(build.__doc__ or '').splitlines()[0]}")
    return 0


def run(arguments: list[str], *, address: str | None = None, until: str | None = None) -> int:
    """Run an experiment up to a stage.

    Args:
        arguments: the options.
        address: replaces the cluster's address where the options do not name one.
        until: the last stage, where the options do not name one; by default all are run.
    """
    values, _ = _split(arguments)
    experiment, run_directory = parse_run(arguments, address=address)
    from flowerti.pipeline import run_experiment

    say, last = speaker(), values.until or until or "report"
    run_experiment(experiment, run_directory, say, last)
    if last == "report":
        summary = json.loads(run_directory.read_bytes("summary.json"))
        say(f"recommended ratio {summary['recommended_ratio']:g}: {summary['recommendation']}")
        say(f"report: {run_directory.uri.rstrip('/')}/report.html")
    return 0


def parse_run(arguments: list[str], *, address: str | None = None) -> tuple[Experiment, RunDirectory]:
    """Turn the options of `run` into an experiment and its run directory.

    Raises:
        ValueError: a preset, file or value is wrong.
        SystemExit: an option is unknown, or help was asked for.
    """
    values, rest = _split(arguments)
    started = RunDirectory(values.run_dir) if values.run_dir else None
    if values.config is not None:
        experiment = _read_config(values.config)
    elif values.preset is None and started is not None and started.exists("config.json"):
        experiment = from_json(
            started.read_bytes("config.json").decode(errors="replace"), file_name=f"{started.uri}/config.json"
        )
    else:
        experiment = preset("demo" if values.preset is None else values.preset)
    if address is not None:
        experiment = replace(experiment, cluster=replace(experiment.cluster, address=address))
    experiment = _override(experiment, rest)
    return experiment, started or RunDirectory(f"runs/{experiment.name}")


def _split(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """What concerns the run as a whole, and the settings of the experiment."""
    parser = argparse.ArgumentParser(prog="flowerti run", add_help=False, allow_abbrev=False)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--preset")
    start.add_argument("--config")
    parser.add_argument("--run-dir", default="")
    parser.add_argument("--until", default="")
    return parser.parse_known_args(arguments)


def _read_config(file_name: str) -> Experiment:
    try:
        text = Path(file_name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--config: {file_name} cannot be read: {error}") from error
    return from_json(text, file_name=file_name)


def _override(experiment: Experiment, arguments: list[str]) -> Experiment:
    import tyro

    description = (
        "--preset NAME or --config FILE chooses the experiment, --run-dir DIR says where its results go (a path, "
        "s3://... or gs://...; with neither preset nor config, a run that was started there goes on), --until STAGE "
        "ends after a stage; every setting below can be changed. Presets: " + ", ".join(PRESETS)
    )
    return tyro.cli(Experiment, prog="flowerti run", description=description, default=experiment, args=arguments)


def speaker() -> Callable[[str], None]:
    """A function that prints a line with the time since now."""
    import time

    from rich.console import Console

    console, began = Console(highlight=False, soft_wrap=True), time.monotonic()

    def say(text: str) -> None:
        seconds = int(time.monotonic() - began)
        console.print(f"{seconds // 60:3d}:{seconds % 60:02d} {text}", markup=False)

    return say


def rewrite_report(run_dir: str) -> int:
    """Write report.html again from what a finished run left."""
    from flowerti.report.publish import republish

    republish(RunDirectory(run_dir))
    print(f"{run_dir.rstrip('/')}/report.html")
    return 0


def tell_status(run_dir: str) -> int:
    """Print a line for every stage of a run."""
    from flowerti.status import read_status

    for line in read_status(RunDirectory(run_dir)):
        print(f"{line.state:8} {line.stage:28} {line.detail}".rstrip())
    return 0


def tell_plan(arguments: list[str]) -> int:
    """Print what every stage of an experiment would cost."""
    from flowerti.plan import StepTimes, estimate, measured_times

    parser = argparse.ArgumentParser(prog="flowerti plan", description="Estimate a run from the times of its steps.")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--num-classes", type=int, required=True, help="weak classes")
    parser.add_argument("--num-gpus", type=int, required=True, help="workers at once, one on each GPU")
    parser.add_argument("--price-per-gpu-hour", type=float, default=0.0)
    parser.add_argument("--from-run", default="", help="take the times from this finished run")
    known = [field.name for field in fields(StepTimes)]
    for name in known:
        parser.add_argument(f"--seconds-per-{name.replace('_', '-')}", dest=name, type=float)
    values = parser.parse_args(arguments)
    given = {name: getattr(values, name) for name in known if getattr(values, name) is not None}
    measured = (
        measured_times(RunDirectory(values.from_run), StepTimes().actor_start) if values.from_run else StepTimes()
    )
    times = replace(measured, **given)
    stages = estimate(preset(values.preset), values.num_classes, values.num_gpus, times, values.price_per_gpu_hour)
    print(f"{'stage':8} {'tasks':>8} {'GPU-hours':>10} {'hours':>8} {'busy':>6} {'GB':>8} {'cost':>10}")
    for s in stages:
        numbers = f"{s.num_tasks:8} {s.worker_hours:10.1f} {s.wall_hours:8.2f} {s.busy:6.1%}"
        print(f"{s.stage:8} {numbers} {s.storage_gb:8.2f} {s.cost:10.2f}")
    print(
        f"{'all':8} {'':8} {sum(s.worker_hours for s in stages):10.1f} {sum(s.wall_hours for s in stages):8.2f}", end=""
    )
    print(f" {'':6} {sum(s.storage_gb for s in stages):8.2f} {sum(s.cost for s in stages):10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
