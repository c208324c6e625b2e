"""The entry point for a person: `flowerti run`, `plan`, `status`, `verify`, `report`, `export`, `presets`.

Options of `run` are generated from the dataclasses of `config`, with the preset's values as defaults. Heavy packages
are imported only by what needs them, so that help answers at once.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from flowerti.artifacts import layout
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import find_config
from flowerti.boundary import DEBUG_OPTION, EXIT_CODES_HELP, guarded
from flowerti.config.experiment import Experiment, from_json
from flowerti.config.presets import PRESETS, preset
from flowerti.config.techniques import TECHNIQUES
from flowerti.export.kinds import KINDS
from flowerti.option_parser import OneLineParser, parse_options
from flowerti.progress import Progress
from flowerti.stopping import ended
from flowerti.tables import load_plugins

_SETTINGS_HELP = (
    "--preset NAME or --config FILE chooses the experiment, --run-dir DIR says where its results go (a path, "
    "s3://... or gs://...; with neither preset nor config, a run that was started there goes on), --until STAGE "
    "ends after a stage, --take-over takes the directory from another run that holds it; every setting below can be "
    "changed. Presets: " + ", ".join(PRESETS) + ". " + EXIT_CODES_HELP
)
_TIMES = ("drawn_image", "scored_image", "trial", "actor_start")
"""Times of single steps that no technique has for itself."""
_PLAN_HELP = "Estimate a run from the times of its steps; takes the settings of `flowerti run` as well."


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, and tells an error in one line on stderr."""
    return guarded("flowerti", _command, sys.argv[1:] if arguments is None else arguments)


def _command(arguments: list[str]) -> int:
    parser = _parser()
    values, rest = parser.parse_known_args(arguments)
    if values.command not in ("run", "plan") and rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    if values.command == "run":
        return run(rest)
    if values.command == "plan":
        return tell_plan(rest)
    if values.command == "presets":
        return presets()
    if values.command == "export":
        return export(values)
    if values.command == "verify":
        from flowerti.verification import tell_verified

        return tell_verified(values.run_dir, values.json)
    return tell_status(values.run_dir) if values.command == "status" else rewrite_report(values.run_dir)


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
    commands.add_parser("run", help="run an experiment, or what is missing of it", add_help=False)
    commands.add_parser("presets", help="list the ready-made experiments")
    report = commands.add_parser("report", help="write report.html of a finished run again")
    report.add_argument("run_dir", help="run directory: a path, s3://... or gs://...")
    status = commands.add_parser("status", help="how far a run is, from its run directory alone")
    status.add_argument("run_dir", help="run directory: a path, s3://... or gs://...")
    verify = commands.add_parser("verify", help="whether the files of a run are as they were written; 3 if not")
    verify.add_argument("run_dir", help="run directory: a path, s3://... or gs://...")
    verify.add_argument("--json", action="store_true", help="print one JSON object in place of lines")
    _add_export(commands.add_parser("export", help="write what a run made in the forms of other programs"))
    commands.add_parser("plan", help="what a run would cost: hours, storage, money", add_help=False)
    return parser


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
    from flowerti.progress import console

    listen, last = console(), values.until or until or "report"
    if run_experiment(experiment, run_directory, [listen], last, take_over=values.take_over) == "report":
        summary = run_directory.read_json(layout.SUMMARY)
        done = Progress("done", [listen])
        done.info(f"recommended ratio {summary['recommended_ratio']:g}: {summary['recommendation']}")
        done.info(f"report: {run_directory.uri.rstrip('/')}/{layout.PAGE}")
    return 0


def parse_run(arguments: list[str], *, address: str | None = None) -> tuple[Experiment, RunDirectory]:
    """Turn the options of `run` into an experiment and its run directory.

    Raises:
        ValueError: an option, preset, file or value is wrong.
        SystemExit: help was asked for.
    """
    values, rest = _split(arguments)
    started = RunDirectory(values.run_dir) if values.run_dir else None
    experiment = _chosen(values, started)
    if address is not None:
        experiment = replace(experiment, cluster=replace(experiment.cluster, address=address))
    experiment = _override(experiment, rest, "flowerti run")
    return experiment, started or RunDirectory(f"runs/{experiment.name}")


def _chosen(values: argparse.Namespace, started: RunDirectory | None) -> Experiment:
    """The experiment that is named, or that was started in the run directory; the demo without either."""
    load_plugins(values.plugins)
    if values.config is not None:
        experiment = _read_config(values.config)
    else:
        found = find_config(started) if values.preset is None and started is not None else None
        experiment = found or preset("demo" if values.preset is None else values.preset)
    return replace(experiment, plugins=tuple(dict.fromkeys([*experiment.plugins, *values.plugins])))


def _start_parser(command: str) -> OneLineParser:
    """Which experiment is meant; help and everything else are left to others."""
    parser = OneLineParser(prog=command, add_help=False, allow_abbrev=False)
    _add_start(parser)
    return parser


def _add_start(parser: argparse.ArgumentParser) -> None:
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--preset")
    start.add_argument("--config")
    parser.add_argument("--plugins", nargs="*", default=[])


def _split(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """What concerns the run as a whole, and the settings of the experiment."""
    parser = _start_parser("flowerti run")
    parser.add_argument("--run-dir", default="")
    parser.add_argument("--until", default="")
    parser.add_argument("--take-over", action="store_true")
    return parser.parse_known_args(arguments)


def _read_config(file_name: str) -> Experiment:
    try:
        text = Path(file_name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--config: {file_name} cannot be read: {error}") from error
    return from_json(text, file_name=file_name)


def _override(experiment: Experiment, arguments: list[str], command: str) -> Experiment:
    return parse_options(Experiment, prog=command, description=_SETTINGS_HELP, default=experiment, arguments=arguments)


def rewrite_report(run_dir: str) -> int:
    """Write report.html again from what a finished run left."""
    from flowerti.report.publish import republish

    republish(RunDirectory(run_dir))
    print(f"{run_dir.rstrip('/')}/{layout.PAGE}")
    return 0


def tell_status(run_dir: str) -> int:
    """Print a line for every stage of a run."""
    from flowerti.status import read_status

    for line in read_status(RunDirectory(run_dir)):
        print(f"{line.state:8} {line.stage:28} {line.detail}".rstrip())
    return 0


def _add_export(parser: argparse.ArgumentParser) -> None:
    kinds = ", ".join(f"{kind.name}: {kind.label}" for kind in KINDS.so_far)
    parser.add_argument("run_dir", help="run directory: a path, s3://... or gs://...")
    parser.add_argument("out_dir", help="local folder, missing or empty; each kind gets a folder in it")
    parser.add_argument("--what", nargs="+", required=True, help=kinds)
    help_sources = "whose images; by default those that the run's recommendation is about"
    parser.add_argument("--sources", nargs="+", default=[], help=help_sources)
    help_ratio = "drawn images for each real one of their class; by default all that were drawn and kept"
    parser.add_argument("--ratio", type=float, default=None, help=help_ratio)
    parser.add_argument("--learning", type=int, default=0, help="which of a class's learnings, from 0")
    help_real = "let real images leave although data.show_images is off"
    parser.add_argument("--with-real-images", action="store_true", help=help_real)
    help_base = "the base's name on the Hugging Face Hub, for cards"
    parser.add_argument("--base-model", default="", help=help_base)


def export(values: argparse.Namespace) -> int:
    """Write what a run made for other programs, and print the folders."""
    from flowerti.export.exporter import export_run
    from flowerti.export.request import ExportRequest

    request = ExportRequest(
        what=tuple(values.what),
        sources=tuple(values.sources),
        ratio=values.ratio,
        learning=values.learning,
        with_real_images=values.with_real_images,
        base_model=values.base_model,
    )
    for folder in export_run(RunDirectory(values.run_dir), values.out_dir, request):
        print(folder)
    return 0


def tell_plan(arguments: list[str]) -> int:
    """Print what every stage of an experiment would cost."""
    from flowerti.detection import PlannedSweep, spread_of, told_detection
    from flowerti.measured_times import measured_times
    from flowerti.plan import Request, StepTimes, estimate, told_plan

    start, _ = _start_parser("flowerti plan").parse_known_args(arguments)
    experiment = _chosen(start, None)  # first: its plugins' techniques have options of their own
    values, rest = _plan_parser().parse_known_args(arguments)
    experiment = _override(experiment, rest, "flowerti plan")
    given = {name: value for name in _TIMES if (value := getattr(values, name))}
    times = StepTimes()
    if values.from_run:
        times = measured_times(RunDirectory(values.from_run), times.actor_start)
    steps = {technique.name: value for technique in TECHNIQUES if (value := getattr(values, technique.name))}
    times = replace(times, learning_step=times.learning_step | steps, **given)
    asked = Request(
        experiment=experiment,
        num_classes=values.num_classes,
        num_workers=values.num_gpus,
        price_per_hour=values.price_per_gpu_hour,
    )
    rows = estimate(asked, times)
    planned = PlannedSweep(
        num_classes=values.num_classes,
        num_images=values.num_images_per_class,
        margin=experiment.sweep.equivalence_margin,
        replication=experiment.replication,
    )
    told = told_detection(planned, spread_of(RunDirectory(values.from_run)) if values.from_run else None)
    print("\n".join([*told_plan(rows), told]))
    return 0


def _plan_parser() -> OneLineParser:
    """What the plan asks besides the settings of the experiment."""
    parser = OneLineParser(prog="flowerti plan", description=_PLAN_HELP, epilog=EXIT_CODES_HELP, allow_abbrev=False)
    _add_start(parser)
    parser.add_argument("--num-classes", type=int, required=True, help="weak classes")
    parser.add_argument("--num-gpus", type=int, required=True, help="workers at once, one on each GPU")
    parser.add_argument("--price-per-gpu-hour", type=float, default=0.0)
    help_images = "validation images of a weak class, to tell what the sweep could detect"
    parser.add_argument("--num-images-per-class", type=int, default=0, help=help_images)
    help_run = "take the times, and how much learnings differ, from this finished run"
    parser.add_argument("--from-run", default="", help=help_run)
    for technique in TECHNIQUES:
        option = f"--seconds-per-{technique.name.replace('_', '-')}-step"
        parser.add_argument(option, dest=technique.name, type=float, default=0.0)
    for name in _TIMES:
        parser.add_argument(f"--seconds-per-{name.replace('_', '-')}", dest=name, type=float, default=0.0)
    return parser


if __name__ == "__main__":
    sys.exit(ended(main()))
