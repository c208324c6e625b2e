"""`flowerti plan`: what every stage of an experiment would cost, before it is started.

This module does not know how costs are estimated.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.boundary import EXIT_CODES_HELP
from flowerti.commands.start import add_named, named_experiment, overridden, start_parser
from flowerti.config.presets import preset
from flowerti.config.techniques import TECHNIQUES
from flowerti.option_parser import OneLineParser

if TYPE_CHECKING:
    from flowerti.plan import StagePlan

_TIMES = ("drawn_image", "scored_image", "trial", "actor_start")
"""Times of single steps that no technique has for itself."""
_PLAN_HELP = "Estimate a run from the times of its steps; takes the settings of `flowerti run` as well."


def tell_plan(arguments: list[str]) -> int:
    """Print what every stage of an experiment would cost."""
    from flowerti.detection import PlannedSweep, spread_of, told_detection
    from flowerti.measured_times import measured_times
    from flowerti.plan import Request, StepTimes, estimate

    start, _ = start_parser("flowerti plan").parse_known_args(arguments)
    experiment = named_experiment(start) or preset("demo")  # first: its plugins' techniques have options of their own
    values, rest = _plan_parser().parse_known_args(arguments)
    experiment = overridden(experiment, rest, "flowerti plan")
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
    _print_plan(rows)
    print(told)
    return 0


def _plan_parser() -> OneLineParser:
    """What the plan asks besides the settings of the experiment."""
    parser = OneLineParser(prog="flowerti plan", description=_PLAN_HELP, epilog=EXIT_CODES_HELP, allow_abbrev=False)
    add_named(parser)
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


def _print_plan(rows: "list[StagePlan]") -> None:
    width = max(len(row.stage) for row in rows)
    print(f"{'stage':{width}} {'tasks':>8} {'GPU-hours':>10} {'hours':>8} {'busy':>6} {'GB':>8} {'cost':>10}  what")
    for row in rows:
        numbers = f"{row.num_tasks:8} {row.worker_hours:10.1f} {row.wall_hours:8.2f} {row.busy:6.1%}"
        numbers += f" {row.storage_gb:8.2f} {row.cost:10.2f}"
        # a stage that the number of weak classes does not change is named, and not estimated
        print(f"{row.stage:{width}} {numbers if row.num_tasks else ' ' * len(numbers)}  {row.what}")
    hours = f"{sum(row.worker_hours for row in rows):10.1f} {sum(row.wall_hours for row in rows):8.2f}"
    sums = f"{sum(row.storage_gb for row in rows):8.2f} {sum(row.cost for row in rows):10.2f}"
    print(f"{'all':{width}} {'':8} {hours} {'':6} {sums}")
