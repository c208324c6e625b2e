"""Which trials are run: lists by hand, and that what is counted before a run is what the protocol then asks for."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from flowerti.artifacts.records import Trial
from flowerti.config.experiment import Experiment, ReplicationConfig, SamplingConfig, SweepConfig
from flowerti.config.presets import demo
from flowerti.sweep.protocol import intent, run_sweep
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.rounds import Cell, TrialPlan, arms_of, count_trials, final_round, first_round, second_round
from flowerti.tables.arms import ARMS, BASELINE, Arm, judged_arm, reference_of, replaced_on, shuffled_on
from flowerti.tables.sources import SOURCES

CONFIG = SweepConfig(
    mixing=("added",), ratios=(2.0, 1.0), free_arms=("real", "balanced"), replace_probabilities=(0.5, 0.3)
)
BOTH = dataclasses.replace(CONFIG, mixing=("fixed", "added"))
FIXED = dataclasses.replace(CONFIG, mixing=("fixed",))


@pytest.fixture(autouse=True)
def _plugin_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that the package has never heard of, one of each kind."""
    monkeypatch.setattr(ARMS, "_rows", dict(ARMS._rows))
    ARMS.add(Arm(name="slow", label="a free arm"))
    ARMS.add(Arm(name="raw_balanced", label="", source="raw", level="ratio", control="balanced", is_balanced=True))
    ARMS.add(Arm(name="shuffled_raw", label="", source="raw", level="ratio", donor="next"))
    ARMS.add(Arm(name="raw_replace", label="", source="raw", level="probability", replaces=True))
    ARMS.add(Arm(name="balanced+token", label="", source="token", level="ratio", control="balanced", is_balanced=True))


def planned(config: SweepConfig, pools: dict[str, int]) -> list[tuple[str, float]]:
    return [(arm.name, ratio) for arm, ratio in first_round(config, pools)]


def test_the_first_round():
    free = [("real", 0.0), ("balanced", 0.0)]
    assert planned(CONFIG, {}) == free
    assert planned(CONFIG, {"raw": 3}) == [*free, ("raw", 1.0), ("raw", 2.0)]
    one_token = planned(CONFIG, {"token": 1})
    assert ("shuffled_token", 1.0) not in one_token, "one class has nobody to swap with"
    with_adapter = planned(CONFIG, {"token": 1, "lora": 1})
    assert [arm for arm in with_adapter if arm not in one_token] == [("lora", 1.0), ("lora", 2.0)]
    both = planned(CONFIG, {"token": 2})
    assert both[2:] == [
        ("token", 1.0),
        ("token", 2.0),
        ("repeated", 1.0),
        ("repeated", 2.0),
        ("shuffled_token", 1.0),
        ("shuffled_token", 2.0),
    ]
    assert planned(dataclasses.replace(CONFIG, negative_control=False), {"token": 2}) == both[:6]
    assert planned(FIXED, {"token": 2}) == free, "images come in on top of the best control"
    assert planned(BOTH, {"token": 2}) == both


def test_extra_arms_run_at_their_own_level_and_once():
    names = ("slow", "raw_balanced", "shuffled_raw", "raw_replace", "repeated", "shuffled_token")
    extra = dataclasses.replace(CONFIG, extra_arms=names, negative_control=False)
    usual = planned(dataclasses.replace(extra, extra_arms=()), {"token": 2, "raw": 2})
    more = planned(extra, {"token": 2, "raw": 2})
    assert more[: len(usual)] == usual
    assert more[len(usual) :] == [
        ("slow", 0.0),
        ("raw_balanced", 1.0),
        ("raw_balanced", 2.0),
        ("shuffled_raw", 1.0),
        ("shuffled_raw", 2.0),
        ("raw_replace", 0.3),
        ("raw_replace", 0.5),
        ("shuffled_token", 1.0),
        ("shuffled_token", 2.0),
    ], "repeated stands in every sweep already"
    without = [name for name, _ in planned(extra, {"token": 2})]
    assert without == [*(name for name, _ in usual if name != "raw"), "slow", *["shuffled_token"] * 2], (
        "no image, no arm"
    )


def test_the_second_round_is_on_top_of_the_best_control():
    first, pools = first_round(CONFIG, {"token": 2}), {"token": 2}
    found = second_round(CONFIG, pools, first, ARMS["balanced"])
    assert [(arm.name, ratio) for arm, ratio in found] == [
        ("balanced+token", 1.0),
        ("balanced+token", 2.0),
        ("balanced+repeated", 1.0),
        ("balanced+repeated", 2.0),
    ]
    kinds = {(cell.arm.source, cell.arm.repeats, cell.arm.control, cell.arm.is_balanced) for cell in found}
    assert kinds == {("token", "", "balanced", True), ("", "token", "balanced", True)}
    assert reference_of(arms_of([*first, *found]), found[0].arm) == found[2].arm, "not the plain repeated images"
    assert second_round(CONFIG, pools, first, BASELINE) == []
    assert second_round(CONFIG, {"raw": 2}, first, ARMS["balanced"]) == []
    named = dataclasses.replace(CONFIG, extra_arms=("balanced+token",))
    more = second_round(named, pools, first_round(named, pools), ARMS["balanced"])
    assert {cell.arm.name for cell in more} == {"balanced+repeated"}, "the other was run already"


def test_at_fixed_mass_all_sources_are_on_top_of_the_best_control():
    first, pools = first_round(FIXED, {"raw": 3, "token": 2}), {"raw": 3, "token": 2}
    for control, prefix in ((ARMS["balanced"], "balanced+"), (BASELINE, "")):
        found = second_round(FIXED, pools, first, control)
        assert [(arm.name.removeprefix(prefix), p) for arm, p in found] == [
            ("raw_replace", 0.3),
            ("raw_replace", 0.5),
            ("token_replace", 0.3),
            ("token_replace", 0.5),
            ("shuffled_token_replace", 0.3),
            ("shuffled_token_replace", 0.5),
        ]
        assert {(cell.arm.control, cell.arm.treatment) for cell in found} == {(control.name, control.treatment)}
    one_token = {cell.arm.donor for cell in second_round(FIXED, {"token": 1}, first, BASELINE)}
    assert one_token == {"own"}, "one class has nobody to swap with"
    quiet = dataclasses.replace(FIXED, negative_control=False)
    names = {cell.arm.name for cell in second_round(quiet, pools, first, ARMS["balanced"])}
    assert names == {"balanced+raw_replace", "balanced+token_replace"}
    both = {cell.arm.name for cell in second_round(BOTH, {"token": 1}, first, ARMS["balanced"])}
    assert both == {"balanced+token_replace", "balanced+token", "balanced+repeated"}


def test_the_final_round():
    token, shuffled = replaced_on(BASELINE, SOURCES["token"]), shuffled_on(BASELINE)
    cells = [Cell(BASELINE, 0.0), Cell(ARMS["repeated"], 1.0), Cell(ARMS["repeated"], 2.0)]
    cells += [Cell(token, 0.3), Cell(token, 1.0), Cell(shuffled, 1.0)]
    added, fixed = judged_arm(), judged_arm("fixed")
    assert final_round(cells, [Cell(added, 2.0)]) == [cells[0], *cells[2:]]
    assert final_round(cells, [Cell(added, 0.0)]) == [cells[0], *cells[3:]]
    assert final_round(cells, [Cell(fixed, 1.0)]) == [*cells[:3], *cells[4:]]
    assert final_round(cells, [Cell(fixed, 0.3), Cell(added, 1.0)]) == [*cells[:2], cells[3]]


def test_two_arms_of_one_name_are_refused():
    ARMS.add(Arm(name="token", label="no source's"))
    with pytest.raises(ValueError, match="'token' is a source of images and an arm: rename one"):
        first_round(CONFIG, {})
    with pytest.raises(ValueError, match="'real' exists already"):
        arms_of([Cell(BASELINE, 0.0), Cell(dataclasses.replace(BASELINE, label="other"), 0.0)])


WEAK, TRUE_IDS = [1, 2], np.repeat(np.arange(4), 6)


class FakeTraining:
    """Counts what it is asked to train, and guesses better under a control if it is told to."""

    def __init__(self, helps: bool) -> None:
        self.helps, self.plans = helps, []

    def __call__(self, plans: list[TrialPlan]) -> tuple[list[Trial], list[str]]:
        self.plans += plans
        return [self._trial(plan) for plan in plans], []

    def _trial(self, plan: TrialPlan) -> Trial:
        is_right = self.helps and plan.arm.is_control and plan.arm.name != BASELINE.name
        predictions = TRUE_IDS.copy()
        if not is_right:
            predictions[np.isin(TRUE_IDS, WEAK)] = 0
        return Trial(
            arm=plan.arm.name,
            ratio=plan.ratio,
            repetition=plan.repetition.index,
            learning_rate_factor=plan.learning_rate_factor,
            split=plan.split,
            predictions=predictions.tolist(),
            num_steps=1,
            num_synthetic=0,
        )


def what_is_run(
    config: SweepConfig, replication: ReplicationConfig, pools: dict[str, int], helps: bool
) -> set[TrialPlan]:
    """What the protocol asks for, where controls help or not; what it asks for twice is trained once."""
    question = SweepQuestion(
        config=config,
        class_names=tuple("abcd"),
        weak_ids=WEAK,
        num_train=[9] * 4,
        pools=pools,
        run_seed=0,
        replication=replication,
    )
    training = FakeTraining(helps)
    table = run_sweep(question, lambda split: TRUE_IDS, training)
    assert (table.best_control != BASELINE.name) == (helps and has_control(config))
    prefix = "" if table.best_control == BASELINE.name else f"{table.best_control}+"
    stated = {name.replace("<best control>+", prefix) for name in intent(question).arms}
    run = {plan.arm.name for plan in training.plans}
    on_top = {f"{prefix}token", f"{prefix}repeated"} if not prefix and "added" not in config.mixing else set()
    assert run == stated - on_top
    return set(training.plans)


def switches() -> Iterator[tuple[SweepConfig, ReplicationConfig]]:
    """Every combination of free arms and switches; of ratios, repetitions, rates and extra arms a few."""
    for free, negative, mixing, extra in itertools.product(
        [("real",), ("real", "balanced", "augmented")],
        [False, True],
        [("added",), ("fixed",), ("fixed", "added")],
        [(), ("slow",), ("raw_balanced", "shuffled_token"), ("raw_replace", "shuffled_raw")],
    ):
        place = len(free) // 2 + negative + len(mixing) + len(extra)
        replication = ReplicationConfig(num_learnings=1 + place % 2, num_pools=1, num_seeds=1 + place % 3)
        config = SweepConfig(
            ratios=(1.0,) if place % 2 else (0.5, 2.0),
            learning_rate_factors=(1.0, 3.0, 10.0)[: 1 + place % 3],
            num_bootstrap=100,
            free_arms=free,
            negative_control=negative,
            mixing=mixing,
            replace_probabilities=(0.3, 1.0),
            extra_arms=extra,
        )
        yield config, replication


POOLS = [
    {},
    {"raw": 2},
    {"token": 1},
    {"raw": 1, "token": 2},
    {source.name: 2 for source in SOURCES},
]


def num_stacked(config: SweepConfig, replication: ReplicationConfig, pools: dict[str, int]) -> int:
    """Of the maximum those trials that need a control that is better than real: counted from the config alone."""
    is_stacked = "added" in config.mixing and pools.get("token", 0) > 0 and has_control(config)
    num_tuning = len(config.ratios) * (len(config.learning_rate_factors) - 1)
    num_trials = replication.num_learnings * replication.num_seeds * (len(config.ratios) + 1)
    spared = 2 * (num_tuning + num_trials) if is_stacked else 0
    if "fixed" in config.mixing and "raw_replace" in config.extra_arms and "raw" in pools and has_control(config):
        # on top of real it is the named arm, which was run already: both probabilities, and the shown one on test
        num_levels = 2 + (pools.get("token", 0) > 0)
        num_repetitions = replication.num_learnings * replication.num_seeds
        spared += 2 * (len(config.learning_rate_factors) - 1) + num_levels * num_repetitions
    return spared


def has_control(config: SweepConfig) -> bool:
    return len(config.free_arms) > 1 or "slow" in config.extra_arms


@pytest.mark.parametrize("pools", POOLS, ids=lambda pools: "+".join(f"{n}x{name}" for name, n in pools.items()))
def test_the_count_is_what_the_protocol_runs(pools: dict[str, int]):
    for config, replication in switches():
        counted, spared = count_trials(config, replication, pools), num_stacked(config, replication, pools)
        assert len(what_is_run(config, replication, pools, helps=True)) == counted, config
        assert len(what_is_run(config, replication, pools, helps=False)) == counted - spared, config


def test_a_stacked_arm_that_is_named_is_counted_once():
    config = dataclasses.replace(CONFIG, extra_arms=("balanced+token",), num_bootstrap=100)
    pools, replication = {"token": 2}, ReplicationConfig()
    plans = what_is_run(config, replication, pools, helps=True)
    assert len(plans) == count_trials(config, replication, pools)


@pytest.mark.parametrize("num_classes", [1, 2, 7])
@pytest.mark.parametrize("sources", [("token",), ("raw", "token"), ("raw", "alternative_name", "token", "lora")])
def test_the_plan_of_a_run_counts_the_same(sources: tuple[str, ...], num_classes: int):
    experiment: Experiment = dataclasses.replace(
        demo(), sampling=SamplingConfig(sources=sources), sweep=dataclasses.replace(CONFIG, num_bootstrap=100)
    )
    asked = experiment.sweep, experiment.replication, dict.fromkeys(sources, num_classes)
    assert count_trials(*asked) == len(what_is_run(*asked, helps=True))
