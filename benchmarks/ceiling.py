"""Whether the ceiling tells the truth: its curve against the weak classes' own, and what planted images are worth.

`python benchmarks/ceiling.py` prints one JSON object. The weak classes are cut down as a run has them, but their other
training images are kept aside: what these bring is the truth that the rehearsal with strong classes should have told.
Then unseen real images, another class's images and round trips of own images take the place of kept ones as if they
had been generated: worth should be about their number, nothing, and nothing.
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from jaxtyping import Float32, Int64

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.ceiling_world import Asked, World, world_of
from benchmarks.paired import print_result
from flowerti.artifacts.ceiling import Ceiling, CeilingRow
from flowerti.ceiling.protocol import Rehearsed, Train, ceiling_question, find_ceiling, find_curve
from flowerti.ceiling.rehearsal import Rehearsal, choose_rehearsal, draw_rehearsal
from flowerti.ceiling.trials import RehearsalData, RehearsalPlan, control_plans, train_trial
from flowerti.ceiling.worth import Curve, Gain, curve_of, worth_of
from flowerti.classifier.batches import LabelledInputs, TrainingRun
from flowerti.classifier.report import score
from flowerti.classifier.training import fit_head, steps_per_epoch
from flowerti.config.experiment import CeilingConfig
from flowerti.sweep.rounds import Cell, arms_of
from flowerti.sweep.statistics import SweepAnalysis
from flowerti.tables.arms import ARMS

_PROBABILITIES = (0.3, 0.6)
"""With which planted images take the place of kept ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Compares the rehearsal with the truth."""

    asked: Annotated[Asked, tyro.conf.arg(name="")] = field(default_factory=Asked)
    """Which images."""
    num_draws: int = 8
    """Draws of the kept images."""


def main() -> None:
    """Measure and print."""
    options = tyro.cli(Options)
    asked = options.asked
    torch.set_num_threads(1)
    world = world_of(asked)
    num_more = (1, 2) if asked.tiny else (5, 20) if asked.quick else (1, 2, 5, 10, 20)
    num_draws = 2 if asked.tiny else 4 if asked.quick else options.num_draws
    config = CeilingConfig(num_draws=num_draws, num_more=num_more)
    rows = rows_of_a_run(world, asked.num_kept)
    rehearsal = rehearsal_of_a_run(world, rows, config)
    told = find_ceiling(rehearsed_with(world, rehearsal, rows, (world.tripped, world.augmented_tripped)), config)
    truth, of_weak = truth_of(world, asked.num_kept, config, told.control)
    details = {
        "world": asked.world,
        "num_kept": [told.num_kept, truth.num_kept],
        "rehearsal_classes": told.class_names,
        "weak_classes": truth.class_names,
        "best_control": {"rehearsal": told.control, "weak": of_weak.control},
        "f1": {"rehearsal": _f1(told), "weak": _f1(truth)},
        "told": _curve(told),
        "truth": _curve(truth),
        "round_trip": [dataclasses.asdict(row) for row in told.rows if "round_trip" in row.kind],
        "planted": planted(world, rehearsal, told, rows),
    }
    print_result("ceiling", {}, details)


def rows_of_a_run(world: World, num_kept: int) -> Int64[np.ndarray, " rows"]:
    """The training images of a run, in which a weak class has `num_kept`."""
    has = np.ones(len(world.train_ids), dtype=bool)
    for class_id in world.weak_ids:
        has[np.flatnonzero(world.train_ids == class_id)[num_kept:]] = False
    return np.flatnonzero(has)


def rehearsal_of_a_run(world: World, rows: Int64[np.ndarray, " rows"], config: CeilingConfig) -> Rehearsal:
    """Classes and draws as a run chooses them."""
    ids = world.train_ids[rows]
    chosen = choose_rehearsal(ids, f1_of_classes(world, rows), world.weak_ids, config, world.class_names)
    assert chosen is not None
    return draw_rehearsal(ids, chosen, config.num_more, config.num_draws, world.experiment.seed)


def f1_of_classes(world: World, rows: Int64[np.ndarray, " rows"]) -> dict[int, float]:
    """Validation F1 of each class under a head like the classify stage's."""
    config, train = world.experiment.classifier, world.train[rows]
    run = TrainingRun(
        config=config, seed=0, num_steps=config.num_epochs * steps_per_epoch(len(rows), config.batch_size)
    )
    inputs = LabelledInputs(inputs=train, class_ids=world.train_ids[rows], num_classes=len(world.class_names))
    found = score(world.class_names, world.true_ids, fit_head(inputs, run).logits(world.evaluation[:, 0]))
    return {class_id: of_class.f1 for class_id, of_class in enumerate(found.classes)}


def rehearsed_with(
    world: World,
    rehearsal: Rehearsal,
    rows: Int64[np.ndarray, " rows"],
    in_place: tuple[Float32[np.ndarray, "num 2 dim"], Float32[np.ndarray, "num views dim"]],
) -> Rehearsed:
    """A rehearsal on some rows, with the features of what takes the place of images."""
    experiment, ids = world.experiment, world.train_ids[rows]

    def trainer(features: Float32[np.ndarray, "num views dim"] | None) -> Train:
        data = RehearsalData(
            rehearsal=rehearsal,
            train=world.train[rows],
            train_ids=ids,
            augmented=world.augmented[rows],
            round_trip_rows=np.arange(len(rows)),
            round_trip=features,
            evaluation=world.evaluation,
            num_classes=len(world.class_names),
        )
        return lambda plans: [train_trial(data, plan, experiment.classifier, experiment.seed) for plan in plans]

    return Rehearsed(
        rehearsal=rehearsal,
        question=ceiling_question(experiment.sweep, rehearsal, world.class_names, experiment.seed),
        true_ids=world.true_ids,
        train=trainer(None),
        train_with_round_trips=lambda control: trainer(in_place[int(control.is_augmented)][rows]),
        detectable_effect=0.0,
    )


def truth_of(world: World, num_kept: int, config: CeilingConfig, control: str) -> tuple[Ceiling, Ceiling]:
    """The weak classes' own curve on top of the control that the rehearsal chose, and on top of their own best one."""
    chosen = tuple(world.weak_ids), num_kept
    rehearsal = draw_rehearsal(world.train_ids, chosen, config.num_more, config.num_draws, world.experiment.seed)
    rows = np.arange(len(world.train_ids))
    rehearsed = rehearsed_with(world, rehearsal, rows, (world.tripped, world.augmented_tripped))
    own = find_ceiling(rehearsed, config)
    return (own if own.control == control else find_curve(rehearsed, ARMS[control], own.learning_rate_factors)), own


def planted(
    world: World, rehearsal: Rehearsal, told: Ceiling, rows: Int64[np.ndarray, " rows"]
) -> list[dict[str, Any]]:
    """Worth of images whose truth is known, in the place of kept ones."""
    points = [row for row in told.rows if row.kind == "unseen_real"]
    curve = curve_of([row.num_more for row in points], [_gain_of(row) for row in points])
    others = _of_another_class(world, rehearsal.class_ids)
    sources = {
        "unseen_real": (world.train, world.augmented),
        "another_class": (world.train[others], world.augmented[others]),
    }
    found = []
    for name, in_place in sources.items():
        for num in rehearsal.num_more:
            few = dataclasses.replace(rehearsal, num_more=(num,))
            for p, gain in gains_in_place(rehearsed_with(world, few, rows, in_place), told).items():
                found.append({"images": name, "num": num, "p": p} | _told_worth(curve, gain))
    (own,) = (row for row in told.rows if row.kind == "round_trip")
    return [*found, {"images": "own_round_trips", "num": told.num_kept} | _told_worth(curve, _gain_of(own))]


def gains_in_place(rehearsed: Rehearsed, told: Ceiling) -> dict[float, Gain]:
    """What unseen images gain in the place of kept ones, by the probability with which they take it."""
    control = ARMS[told.control]
    factor, draws = told.learning_rate_factors[control.name], range(told.num_draws)
    # the statistics ask for the baseline in any case
    plans = control_plans(list(dict.fromkeys([ARMS["real"], control])), draws, factor)
    for p in _PROBABILITIES:
        plans += [
            RehearsalPlan(control=control, kind="unseen_round_trip", draw=draw, level=p, learning_rate_factor=factor)
            for draw in draws
        ]
    cells = list(dict.fromkeys(plan.cell for plan in plans))
    analysis = SweepAnalysis(
        rehearsed.train_with_round_trips(control)(plans), arms_of(cells), rehearsed.true_ids, rehearsed.question
    )
    contrasts = {p: analysis.contrast(cell, Cell(control, 0.0)) for cell in cells if (p := cell.ratio)}
    return {p: Gain(value=found.difference, low=found.low, high=found.high) for p, found in contrasts.items()}


def _of_another_class(world: World, class_ids: Sequence[int]) -> Int64[np.ndarray, " num"]:
    """For each image of some classes one of the next of them; for all others themselves."""
    places = np.arange(len(world.train_ids))
    for own, other in zip(class_ids, [*class_ids[1:], class_ids[0]], strict=True):
        members = np.flatnonzero(world.train_ids == own)
        places[members] = np.resize(np.flatnonzero(world.train_ids == other), len(members))
    return places


def _gain_of(row: CeilingRow) -> Gain:
    return Gain(value=row.gain, low=row.low, high=row.high)


def _told_worth(curve: Curve, gain: Gain) -> dict[str, Any]:
    worth = worth_of(curve, gain)
    ends = {name: getattr(worth, name) for name in ("value", "low", "high")}
    told = {name: number if math.isfinite(number) else None for name, number in ends.items()}
    return {"gain": dataclasses.asdict(gain), "worth": told}


def _curve(ceiling: Ceiling) -> list[dict[str, float]]:
    """Gain and interval of each number of unseen images."""
    rows = [row for row in ceiling.rows if row.kind == "unseen_real"]
    return [{"num": row.num_more, "gain": row.gain, "low": row.low, "high": row.high} for row in rows]


def _f1(ceiling: Ceiling) -> float:
    return next(row.f1 for row in ceiling.rows if row.arm == ceiling.control)


if __name__ == "__main__":
    main()
