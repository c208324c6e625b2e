"""The rehearsal on classes whose truth is planted: clouds of features around centres."""

import dataclasses

import numpy as np
import pytest

from flowerti.artifacts.ceiling import Ceiling
from flowerti.artifacts.records import Trial
from flowerti.ceiling.protocol import Rehearsed, ceiling_question, find_ceiling, find_curve
from flowerti.ceiling.rehearsal import choose_rehearsal, draw_rehearsal
from flowerti.ceiling.trials import RehearsalData, RehearsalPlan, train_trial
from flowerti.ceiling.worth import Gain, curve_of, worth_of
from flowerti.config.experiment import CeilingConfig, ClassifierConfig, SweepConfig
from flowerti.tables.arms import ARMS

NUM_CLASSES, DIM, WEAK = 6, 64, [0]
COUNTS = [3, 60, 60, 60, 60, 60]
CLASSIFIER = ClassifierConfig(num_epochs=8, batch_size=16, learning_rate=0.03)
SWEEP = SweepConfig(
    free_arms=("real", "balanced", "balanced_softmax"), learning_rate_factors=(1.0, 3.0), num_bootstrap=400
)
CONFIG = CeilingConfig(num_classes=3, num_draws=4, num_more=(1, 3, 9, 27))


class World:
    """Classes in pairs that lie near each other, so that few images mislead."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(3)
        self.centres = self.rng.normal(size=(NUM_CLASSES, DIM))
        self.centres[3:] = self.centres[:3] + 0.4 * self.rng.normal(size=(3, DIM))
        self.train_ids = np.repeat(np.arange(NUM_CLASSES), COUNTS)
        self.train = self.draw(self.train_ids)
        self.true_ids = np.repeat(np.arange(NUM_CLASSES), 60)
        self.evaluation = self.draw(self.true_ids)

    def draw(self, class_ids: np.ndarray) -> np.ndarray:
        return (self.centres[class_ids] + self.rng.normal(size=(len(class_ids), DIM))).astype(np.float32)[:, None]


def rehearsed_with(world: World, round_trip: np.ndarray) -> tuple[Rehearsed, list[Trial]]:
    """The rehearsal with these features as the training images' round trips, and the trials that it will have run."""
    chosen = choose_rehearsal(world.train_ids, dict.fromkeys(range(NUM_CLASSES), 0.5), WEAK, CONFIG, "abcdef")
    assert chosen is not None
    rehearsal = draw_rehearsal(world.train_ids, chosen, CONFIG.num_more, CONFIG.num_draws, run_seed=0)
    data = RehearsalData(
        rehearsal=rehearsal,
        train=world.train,
        train_ids=world.train_ids,
        augmented=None,
        round_trip_rows=np.arange(len(world.train_ids)),
        round_trip=round_trip,
        evaluation=world.evaluation,
        num_classes=NUM_CLASSES,
    )
    run: list[Trial] = []

    def train(plans: list[RehearsalPlan]) -> list[Trial]:
        run.extend(train_trial(data, plan, CLASSIFIER, 0) for plan in plans)
        return run[-len(plans) :]

    question = ceiling_question(SWEEP, rehearsal, "abcdef", run_seed=0)
    rehearsed = Rehearsed(
        rehearsal=rehearsal,
        question=question,
        true_ids=world.true_ids,
        train=train,
        train_with_round_trips=lambda control: train,
        detectable_effect=0.1,
    )
    return rehearsed, run


def ceiling_with(world: World, round_trip: np.ndarray) -> tuple[Ceiling, list[Trial]]:
    rehearsed, run = rehearsed_with(world, round_trip)
    return find_ceiling(rehearsed, CONFIG), run


@pytest.fixture(scope="module")
def found() -> tuple[World, Ceiling, list[Trial]]:
    world = World()
    return world, *ceiling_with(world, world.train)


def gains(ceiling: Ceiling, kind: str) -> dict[int, Gain]:
    return {
        row.num_more: Gain(value=row.gain, low=row.low, high=row.high)
        for row in ceiling.rows
        if row.arm == f"{ceiling.control}+{kind}"
    }


def test_the_classes_with_images_to_spare_are_rehearsed(found: tuple[World, Ceiling, list[Trial]]):
    _, ceiling, trials = found
    assert (ceiling.class_names, ceiling.num_kept, ceiling.num_draws) == (["b", "c", "d"], 3, 4)
    assert ceiling.control in ("balanced", "balanced_softmax"), "three images of sixty are too rarely seen"
    assert ceiling.num_headroom == 27
    assert len({trial.num_steps for trial in trials}) == 1, "more images are not more steps"
    real = next(row for row in ceiling.rows if row.arm == "real")
    assert (real.gain, real.low, real.high) == (0, 0, 0)
    assert max(row.f1 for row in ceiling.rows if "+" not in row.arm) == next(
        row.f1 for row in ceiling.rows if row.arm == ceiling.control
    )


def test_unseen_real_images_are_worth_their_number(found: tuple[World, Ceiling, list[Trial]]):
    _, ceiling, _ = found
    of_real = gains(ceiling, "unseen_real")
    assert ceiling.headroom == of_real[27].value > 0.1
    assert ceiling.headroom_low > 0
    curve = curve_of(list(of_real), list(of_real.values()))
    for num, gain in of_real.items():
        worth = worth_of(curve, gain)
        assert worth.low <= num <= worth.high


def test_round_trips_that_lose_nothing_change_nothing(found: tuple[World, Ceiling, list[Trial]]):
    """They are the same images: at fixed mass no interval of theirs lies above 0."""
    (row,) = gains(found[1], "round_trip").values()
    assert row.low <= 0 and abs(row.value) < 0.1
    (row,) = gains(found[1], "round_trip_all").values()
    assert row.low <= 0 and abs(row.value) < 0.1


def test_a_perfect_generator_behind_a_lossless_autoencoder_draws_unseen_images(
    found: tuple[World, Ceiling, list[Trial]],
):
    """In the place of kept images too they are worth some, and about as much as the same images added."""
    _, ceiling, _ = found
    of_real, (perfect,) = gains(ceiling, "unseen_real"), gains(ceiling, "unseen_round_trip").values()
    assert perfect.low > 0
    worth = worth_of(curve_of(list(of_real), list(of_real.values())), perfect)
    assert worth.value > 3 and worth.low <= 27 <= worth.high


def test_the_curve_on_top_of_the_chosen_control_is_that_of_the_ceiling(found: tuple[World, Ceiling, list[Trial]]):
    world, ceiling, _ = found
    curve = find_curve(rehearsed_with(world, world.train)[0], ARMS[ceiling.control], {})
    assert gains(curve, "unseen_real") == gains(ceiling, "unseen_real")
    assert {row.kind for row in curve.rows} == {"real", "unseen_real"}
    other = find_curve(rehearsed_with(world, world.train)[0], ARMS["real"], {})
    assert {row.control for row in other.rows} == {"real"} and other.rows[0].kind == "real"


def test_a_curve_under_rates_that_are_known_is_the_same_with_fewer_trials(found: tuple[World, Ceiling, list[Trial]]):
    world, ceiling, _ = found
    (anew, all_trials), (known, fewer) = rehearsed_with(world, world.train), rehearsed_with(world, world.train)
    control = ARMS["balanced_softmax" if ceiling.control == "balanced" else "balanced"]
    assert find_curve(anew, control, {}) == find_curve(known, control, ceiling.learning_rate_factors)
    assert len(fewer) < len(all_trials)


def test_another_class_s_images_as_round_trips_are_worth_nothing():
    world = World()
    ceiling, _ = ceiling_with(world, world.draw((world.train_ids + 1) % NUM_CLASSES))
    (wrong,) = gains(ceiling, "round_trip").values()
    of_real = gains(ceiling, "unseen_real")
    assert wrong.high < 0
    assert worth_of(curve_of(list(of_real), list(of_real.values())), wrong).value == 0


def test_a_diverged_trial_is_named(monkeypatch: pytest.MonkeyPatch):
    world = World()
    monkeypatch.setitem(globals(), "CLASSIFIER", dataclasses.replace(CLASSIFIER, learning_rate=1e38))
    with pytest.raises(ValueError, match=r"^ceiling, real: logits are NaN"):
        ceiling_with(world, world.train)


def test_the_same_draws_give_the_same_ceiling(found: tuple[World, Ceiling, list[Trial]]):
    world = World()
    again, _ = ceiling_with(world, world.train)
    assert dataclasses.asdict(again) == dataclasses.asdict(found[1])
