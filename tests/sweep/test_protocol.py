"""The whole sweep in a plain loop: planted truths are found, and nothing is decided on the test split."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from planted_sweep import NUM_CLASSES, SWEEP, WEAK, Sweep, World, pools_of, question_of

from flowerti.artifacts.records import SweepTable
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.sweep.protocol import intent, primary_contrast
from flowerti.sweep.trial_data import PoolKey
from flowerti.tables.arms import ARMS, Arm


@pytest.fixture(scope="module")
def helped() -> tuple[Sweep, SweepTable]:
    world = World(0)
    sweep = Sweep(pools_of(world, {4: 4, 5: 5}), world)
    return sweep, sweep.table()


def test_unseen_real_images_for_synthetic_ones_are_recommended(helped: tuple[Sweep, SweepTable]):
    table = helped[1]
    assert table.recommended_ratio > 0
    assert table.recommendation.startswith(f"Use {table.recommended_ratio:g} synthetic images")
    assert any(choice.ratio > 0 for choice in table.class_ratios)
    (primary,) = [c for c in table.contrasts if c.primary]
    assert (primary.split, primary.arm, primary.against_arm) == ("test", "token", "real")
    assert primary.low > 0, "it holds on test"


@pytest.mark.parametrize("shown", [{4: 0, 5: 1}, {4: 2, 5: 3}])
def test_images_of_another_class_for_synthetic_ones_are_refused(shown: dict[int, int]):
    world = World(0)
    table = Sweep(pools_of(world, shown), world).table()
    assert table.recommended_ratio == 0
    assert [choice.ratio for choice in table.class_ratios] == [0, 0]
    assert table.recommendation.startswith("Use no synthetic images")
    assert table.warnings == []


def test_images_of_adapters_are_an_arm_of_their_own_and_do_not_enter_the_token_s_recommendation():
    world = World(0)
    of_adapters = {PoolKey(class_id, "lora"): world.draw(class_id, 16) for class_id in WEAK}
    sweep = Sweep(pools_of(world, {4: 0, 5: 1}) | of_adapters, world)
    table = sweep.table()
    assert table.recommended_ratio == 0
    (said,) = table.warnings
    assert said.startswith("The same rule for the images of arm lora (token and adapter): Use ")
    tested = {row.arm: row for row in table.rows if row.split == "test"}
    assert tested["lora"].weak_gain > 0
    against = [c for c in table.contrasts if (c.arm, c.against_arm) == ("token", "lora")]
    assert [c.split for c in against] == ["validation", "test"]
    assert all(c.high < 0 for c in against), "the adapter's images do better"
    assert "lora" in intent(question_of(sweep.pools)).arms


def test_the_shuffled_token_is_beaten_where_the_token_helps(helped: tuple[Sweep, SweepTable]):
    (found,) = [c for c in helped[1].contrasts if (c.split, c.against_arm) == ("validation", "shuffled_token")]
    assert found.low > 0


def test_token_images_are_put_on_top_of_the_best_control(helped: tuple[Sweep, SweepTable]):
    table = helped[1]
    assert table.best_control == "balanced"
    arms = {(row.split, row.arm) for row in table.rows}
    assert {("validation", "balanced+token"), ("test", "balanced+token")} <= arms
    for against in ("balanced", "balanced+repeated"):
        assert any((c.arm, c.against_arm) == ("balanced+token", against) for c in table.contrasts)
    row = next(r for r in table.rows if r.arm == "balanced+token" and r.ratio == table.recommended_ratio)
    twin = next(r for r in table.rows if r.arm == "balanced+repeated" and r.ratio == row.ratio)
    assert row.content_gain == pytest.approx(row.weak_f1 - twin.weak_f1)


FIXED = dataclasses.replace(SWEEP, mixing=("fixed",), replace_probabilities=(0.4, 0.8))


@pytest.fixture(scope="module")
def replaced() -> tuple[Sweep, SweepTable]:
    world = World(0)
    sweep = Sweep(pools_of(world, {4: 4, 5: 5}), world)
    return sweep, sweep.table(FIXED)


def test_at_fixed_mass_unseen_real_images_beat_the_best_control(replaced: tuple[Sweep, SweepTable]):
    sweep, table = replaced
    assert (table.best_control, table.judged_arm) == ("balanced", "balanced+token_replace")
    assert table.recommended_ratio in FIXED.replace_probabilities
    assert table.recommendation.startswith(
        "Let a synthetic image take a weak class's real one's place with probability"
    )
    assert table.verdict is not None
    assert (table.verdict.action, table.verdict.arm) == ("use_generated", "balanced+token_replace")
    (primary,) = [c for c in table.contrasts if c.primary]
    assert (primary.arm, primary.against_arm, primary.against_ratio) == ("balanced+token_replace", "balanced", 0.0)
    assert primary.p < 0.05, "it holds on test"
    assert {trial.arm for trial in sweep.trials} == {
        "real", "balanced", "balanced+token_replace", "balanced+shuffled_token_replace"
    }  # fmt: skip
    final = {(t.arm, t.ratio) for t in sweep.trials if t.split == "test"}
    mixed_in = ("balanced+token_replace", "balanced+shuffled_token_replace")
    assert final == {("real", 0), ("balanced", 0), *((arm, table.recommended_ratio) for arm in mixed_in)}
    (shuffled,) = [
        c for c in table.contrasts if (c.split, c.against_arm) == ("test", "balanced+shuffled_token_replace")
    ]
    assert shuffled.low > 0


def test_at_fixed_mass_content_is_measured_against_the_same_control(replaced: tuple[Sweep, SweepTable]):
    rows = {(row.split, row.arm, row.ratio): row for row in replaced[1].rows}
    for (split, arm, _), row in rows.items():
        if arm == "balanced+token_replace":
            control = rows[split, "balanced", 0.0]
            assert row.content_gain == pytest.approx(row.weak_f1 - control.weak_f1)
        elif "+" not in arm:
            assert row.content_gain == 0


@pytest.mark.parametrize("shown", [{4: 0, 5: 1}, {4: 2, 5: 3}])
def test_at_fixed_mass_images_of_another_class_are_refused(shown: dict[int, int]):
    world = World(0)
    table = Sweep(pools_of(world, shown), world).table(FIXED)
    assert table.recommended_ratio == 0
    assert table.recommendation.startswith("Use no synthetic images")
    assert table.verdict is not None and table.verdict.action == "use_control"


def test_with_both_ways_of_mixing_the_fixed_one_is_judged():
    world = World(0)
    sweep = Sweep(pools_of(world, {4: 4, 5: 5}), world)
    table = sweep.table(dataclasses.replace(FIXED, mixing=("added", "fixed")))
    assert table.judged_arm == "balanced+token_replace"
    tested = {(t.arm, t.ratio) for t in sweep.trials if t.split == "test"}
    (ratio,) = {ratio for arm, ratio in tested if arm == "token"}
    assert ratio in FIXED.ratios
    against = {(c.arm, c.against_arm) for c in table.contrasts if c.split == "test"}
    assert ("balanced+token", "balanced+repeated") in against


def test_all_arms_make_the_same_number_of_steps(helped: tuple[Sweep, SweepTable]):
    assert len({trial.num_steps for trial in helped[0].trials}) == 1


def test_test_is_opened_once_and_last(helped: tuple[Sweep, SweepTable]):
    asked = helped[0].asked
    opened = [i for i, what in enumerate(asked) if what.endswith("test")]
    assert asked.count("trials on test") == 1
    assert opened == [len(asked) - 2, len(asked) - 1]
    final = {(t.arm, t.ratio) for t in helped[0].trials if t.split == "test"}
    ratio = helped[1].recommended_ratio
    with_ratio = ("token", "repeated", "shuffled_token", "balanced+token", "balanced+repeated")
    assert final == {("real", 0), ("balanced", 0), *((arm, ratio) for arm in with_ratio)}


def before_test(table: SweepTable) -> tuple:
    """Everything that was decided, and every number from validation."""
    kept = [[r for r in rows if r.split == "validation"] for rows in (table.rows, table.classes, table.groups)]
    contrasts = [c for c in table.contrasts if c.split == "validation"]
    decided = (table.recommended_ratio, table.recommendation, table.best_control, table.warnings, table.class_ratios)
    return *kept, contrasts, *decided


def test_permuted_test_labels_change_nothing_before_the_final_trials(helped: tuple[Sweep, SweepTable]):
    sweep, table = helped
    again = Sweep(sweep.pools, World(0))
    again.train, again.evaluation = sweep.train, dict(sweep.evaluation)
    images, ids = sweep.evaluation["test"]
    again.evaluation["test"] = (images, np.random.default_rng(9).permutation(ids))
    permuted = again.table()
    assert before_test(permuted) == before_test(table)
    tested = [[r for r in t.rows if r.split == "test"] for t in (table, permuted)]
    assert tested[0] != tested[1], "the labels do matter in the end"


def test_other_test_images_change_nothing_before_the_final_trials(helped: tuple[Sweep, SweepTable]):
    sweep, table = helped
    again = Sweep(sweep.pools, World(0))
    again.train = sweep.train
    again.evaluation = {**sweep.evaluation, "test": World(5).split([40] * NUM_CLASSES)}
    assert before_test(again.table()) == before_test(table)


def test_the_intent_names_every_arm_that_is_run(helped: tuple[Sweep, SweepTable]):
    stated = intent(question_of(helped[0].pools))
    assert stated.primary_contrast == primary_contrast(SWEEP) == helped[1].primary_contrast
    assert "test: arm token at the ratio" in stated.primary_contrast and "minus arm real at" in stated.primary_contrast
    run = {row.arm for row in helped[1].rows}
    assert {arm.replace("<best control>", "balanced") for arm in stated.arms} == run
    first_round = [t for t in helped[0].trials if t.split == "validation" and "+" not in t.arm]
    assert stated.num_trials_validation == len(first_round)


def test_the_intent_holds_every_setting_that_a_number_depends_on():
    question = question_of({PoolKey(4, "token"): np.zeros((1, 1, 1), np.float32)})
    stated = intent(question)
    fields = {field.name for field in dataclasses.fields(stated)}
    assert {field.name for field in dataclasses.fields(SWEEP)} - fields - set(stated.settings) == {
        "max_concurrent_trials"
    }
    assert (stated.weak_classes, stated.ratios, stated.run_seed) == (["e", "f"], [1.0, 4.0], 0)
    assert stated.replication == {"num_draws": 1, "num_learnings": 1, "num_pools": 1, "num_seeds": 3}
    assert (stated.alpha, stated.max_rest_drop) == (0.05, SWEEP.max_rest_drop)
    assert stated.rule
    shuffled = dataclasses.replace(question, config=dataclasses.replace(SWEEP, max_concurrent_trials=3))
    assert intent(shuffled) == stated


def test_a_sweep_without_images_recommends_none():
    table = Sweep({}, World(1)).table()
    assert table.recommended_ratio == 0
    assert table.contrasts == []
    assert {row.arm for row in table.rows} == {"real", "balanced"}


def test_the_table_says_what_its_arms_are_also_after_it_was_stored(helped: tuple[Sweep, SweepTable], tmp_path: Path):
    table, run = helped[1], RunDirectory(str(tmp_path))
    assert {arm.name for arm in table.arms} == {row.arm for row in table.rows}
    run.save("sweep/table.json", table, "k")
    stored = run.load("sweep/table.json", SweepTable)
    assert stored == table
    (on_top,) = [arm for arm in stored.arms if arm.name == "balanced+token"]
    assert (on_top.source, on_top.control, on_top.is_balanced) == ("token", "balanced", True)


@pytest.fixture
def plugin_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that the package has never heard of."""
    monkeypatch.setattr(ARMS, "_rows", dict(ARMS._rows))
    both = {"is_balanced": True, "has_balanced_softmax": True}
    ARMS.add(Arm(name="both", label="two at once", control="both", **both))
    ARMS.add(Arm(name="both_raw", label="raw and two at once", source="raw", level="ratio", control="both", **both))
    ARMS.add(Arm(name="raw_replace", label="raw instead", source="raw", level="probability", replaces=True))


@pytest.mark.usefixtures("plugin_arms")
def test_arms_of_a_plugin_go_from_the_plan_to_the_table():
    world = World(0)
    pools = pools_of(world, {4: 4, 5: 5}) | {PoolKey(class_id, "raw"): world.draw(class_id, 16) for class_id in WEAK}
    config = dataclasses.replace(
        SWEEP, extra_arms=("both", "both_raw", "raw_replace"), replace_probabilities=(0.5,), negative_control=False
    )
    sweep = Sweep(pools, world)
    table = sweep.table(config)
    assert set(config.extra_arms) <= set(intent(question_of(pools, config)).arms)
    run = {split: {(r.arm, r.ratio) for r in table.rows if r.split == split} for split in ("validation", "test")}
    assert {("both", 0.0), ("both_raw", 1.0), ("both_raw", 4.0), ("raw_replace", 0.5)} <= run["validation"]
    at = table.recommended_ratio
    assert at > 0
    assert {("both", 0.0), ("both_raw", at), ("raw_replace", 0.5)} <= run["test"]
    assert ("both_raw", 5.0 - at) not in run["test"], "one ratio is shown"
    assert {"both", "both_raw", "raw_replace"} <= {arm.name for arm in table.arms}
    against = {(c.arm, c.against_arm) for c in table.contrasts}
    assert ("both_raw", "both") in against and ("token", "both_raw") not in against
    predictions = {t.arm: t.predictions for t in sweep.trials if (t.split, t.repetition) == ("validation", 0)}
    assert predictions["both"] != predictions["balanced"] != predictions["real"]
    assert table.best_control in ("balanced", "both")
