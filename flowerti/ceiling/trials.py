"""The trials of the rehearsal: a linear head on frozen features, with some more real images or with round trips.

Rehearsal classes are treated as weak ones are in the sweep, and every trial of a run makes the same number of steps.
This module does not know where features come from, nor what the trials are compared for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int64

from flowerti.artifacts.ceiling import Kind
from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.records import Trial
from flowerti.ceiling.rehearsal import Rehearsal
from flowerti.classifier.batches import LabelledInputs, TrainingRun, Treatment
from flowerti.classifier.training import fit_head, steps_per_epoch
from flowerti.config.experiment import ClassifierConfig
from flowerti.sweep.feature_rivals import with_features
from flowerti.sweep.rounds import Cell
from flowerti.tables.arms import Arm, stacked_name

LABELS: dict[Kind, str] = {
    "real": "real images",
    "unseen_real": "unseen real images more",
    "unseen_round_trip": "round trips of unseen images instead of real",
    "round_trip": "round trips instead of real",
    "round_trip_all": "round trips in all classes",
}
_WITHOUT_ROUND_TRIPS: tuple[Kind, ...] = ("real", "unseen_real")


@dataclass(frozen=True, kw_only=True, slots=True)
class RehearsalData:
    """Features that all trials share."""

    rehearsal: Rehearsal
    train: Float32[np.ndarray, "num views dim"]
    train_ids: Int64[np.ndarray, " num"]
    augmented: Float32[np.ndarray, "num some dim"] | None
    """Strongly augmented views of the training images; None where no control augments."""
    round_trip_rows: Int64[np.ndarray, " some_rows"]
    """Training images that went through the autoencoder, in rising order; empty where no trial needs them."""
    round_trip: Float32[np.ndarray, "some_rows any_views dim"] | None
    """In as many views as the images that the control trains on; None where no trial needs them."""
    evaluation: Float32[np.ndarray, "held_out 1 dim"]
    num_classes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RehearsalPlan:
    """One training."""

    control: Arm
    kind: Kind
    draw: int
    level: float = 0.0
    """Images more, or the probability of a round trip; 0 for real images."""
    learning_rate_factor: float = 1.0

    @property
    def cell(self) -> Cell:
        """The arm and level of its predictions."""
        return Cell(arm_of(self.control, self.kind), self.level)


def arm_of(control: Arm, kind: Kind) -> Arm:
    """The control itself, or on top of it what a kind of trial adds or replaces."""
    if kind == "real":
        return control
    replaces = kind not in _WITHOUT_ROUND_TRIPS
    return replace(
        control,
        name=stacked_name(control.name, kind),
        label=f"{control.label}, {LABELS[kind]}",
        source=kind,
        level="probability" if replaces else "ratio",
        replaces=replaces,
        control=control.name,
    )


def train_trial(data: RehearsalData, plan: RehearsalPlan, config: ClassifierConfig, run_seed: int) -> Trial:
    """Train a head and predict the validation split.

    Raises:
        ValueError: the training diverged; names the trial.
    """
    rows, kept = _rows(data, plan)
    parts = [(_real(data, plan)[rows], data.train_ids[rows])]
    if plan.kind not in _WITHOUT_ROUND_TRIPS:
        places = _round_trips(data, plan, rows)
        assert data.round_trip is not None
        parts.append((data.round_trip[places], data.train_ids[data.round_trip_rows[places]]))
    seed = seed_for(run_seed, "", "ceiling/trial", plan.draw)
    parts, num_drawn = with_features(plan.control.features, parts, seed)
    inputs, ids = zip(*parts, strict=True)
    # as many steps for every number of images
    num_steps = config.num_epochs * steps_per_epoch(kept, config.batch_size)
    config = replace(config, learning_rate=config.learning_rate * plan.learning_rate_factor)
    train = LabelledInputs(inputs=np.concatenate(inputs), class_ids=np.concatenate(ids), num_classes=data.num_classes)
    run = TrainingRun(config=config, seed=seed, num_steps=num_steps)
    logits = fit_head(train, run, _treatment(plan, len(rows), num_drawn)).logits(data.evaluation[:, 0])
    if not np.isfinite(logits).all():
        raise ValueError(f"ceiling, {plan.cell.arm.name}: logits are NaN or infinite: lower classifier.learning_rate")
    return Trial(
        arm=plan.cell.arm.name,
        ratio=plan.level,
        repetition=plan.draw,
        split="validation",
        predictions=logits.argmax(axis=1).tolist(),
        num_steps=num_steps,
        num_synthetic=0,
        learning_rate_factor=plan.learning_rate_factor,
    )


def _rows(data: RehearsalData, plan: RehearsalPlan) -> tuple[Int64[np.ndarray, " rows"], int]:
    """Rows to train on, and how many there are without further images."""
    kept = data.rehearsal.rows(data.train_ids, plan.draw)
    if plan.kind != "unseen_real":
        return kept, len(kept)
    return data.rehearsal.rows(data.train_ids, plan.draw, int(plan.level)), len(kept)


def _real(data: RehearsalData, plan: RehearsalPlan) -> np.ndarray:
    if not plan.control.is_augmented:
        return data.train
    assert data.augmented is not None
    return data.augmented


def _round_trips(
    data: RehearsalData, plan: RehearsalPlan, rows: Int64[np.ndarray, " rows"]
) -> Int64[np.ndarray, " places"]:
    """Places of the round trips that may take a real image's place: of those trained on, or of the unseen ones."""
    rehearsal = data.rehearsal
    if plan.kind == "unseen_round_trip":
        return np.flatnonzero(np.isin(data.round_trip_rows, rehearsal.unseen(plan.draw)))
    is_there = np.isin(data.round_trip_rows, rows)
    if plan.kind == "round_trip":
        is_there &= np.isin(data.train_ids[data.round_trip_rows], rehearsal.class_ids)
    return np.flatnonzero(is_there)


def _treatment(plan: RehearsalPlan, num_real: int, num_drawn: int) -> Treatment:
    control, replaces = plan.control, plan.kind not in _WITHOUT_ROUND_TRIPS
    return Treatment(
        balanced=control.is_balanced,
        balanced_softmax=control.has_balanced_softmax,
        num_counted=num_real,
        num_drawn=num_drawn if replaces else None,
        replace_probability=plan.level if replaces else 0.0,
    )


def control_plans(controls: Sequence[Arm], draws: Sequence[int], factor: float) -> list[RehearsalPlan]:
    """The controls with the kept images alone."""
    return [
        RehearsalPlan(control=control, kind="real", draw=draw, learning_rate_factor=factor)
        for control in controls
        for draw in draws
    ]


def curve_plans(control: Arm, rehearsal: Rehearsal, factor: float) -> list[RehearsalPlan]:
    """Every number of unseen images on top of a control, in every draw."""
    return _on(control, rehearsal, factor, [("unseen_real", float(num)) for num in rehearsal.num_more])


def round_trip_plans(control: Arm, rehearsal: Rehearsal, probability: float, factor: float) -> list[RehearsalPlan]:
    """Every kind of round trips on top of a control, in every draw."""
    return _on(control, rehearsal, factor, [(kind, probability) for kind in LABELS if kind not in _WITHOUT_ROUND_TRIPS])


def _on(control: Arm, rehearsal: Rehearsal, factor: float, levels: Sequence[tuple[Kind, float]]) -> list[RehearsalPlan]:
    return [
        RehearsalPlan(control=control, kind=kind, draw=draw, level=level, learning_rate_factor=factor)
        for kind, level in levels
        for draw in range(len(rehearsal.orders))
    ]
