"""The drawn images that leave are those that the sweep's first repetition trains with."""

import dataclasses

import numpy as np
import pytest
from small_export import NAMES, NUM_DRAWN, NUM_TRAIN, asking, drawn_row

from flowerti.artifacts import layout
from flowerti.artifacts.curation import CuratedSet, Curation
from flowerti.artifacts.saved_config import read_config, write_config
from flowerti.config.experiment import ReplicationConfig, SweepConfig
from flowerti.data.shards import write_shard
from flowerti.export.contents import Contents, read_contents
from flowerti.export.synthetic import drawn_images
from flowerti.sweep.mixing import mix
from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial_data import PoolKey, TrialData
from flowerti.tables.arms import Arm

CLASS_ID = NAMES.index("café")


def _chosen(contents: Contents) -> list[int]:
    return [one.fields["index"] for one in drawn_images(contents, "café", ("token",), NUM_TRAIN)]


def _of_sweep(seed: int, ratio: float, num_pools: int, weights: list[float], repetition: Repetition) -> list[int]:
    """The images that a trial adds, told by their only feature: their index."""
    train = np.full((NUM_TRAIN, 1, 1), -1.0)
    pool = PoolKey(CLASS_ID, "token", repetition.learning)
    data = TrialData(
        train=train,
        train_ids=np.full(NUM_TRAIN, CLASS_ID),
        augmented=None,
        evaluation=train,
        synthetic={pool: np.arange(float(len(weights)))[:, None, None]},
        num_classes=len(NAMES),
        weights={pool: np.array(weights)},
        num_parts=num_pools,
    )
    arm = Arm(name="token", label="token", source="token", level="ratio")
    plan = TrialPlan(arm=arm, ratio=ratio, repetition=repetition, split="validation")
    mixture = mix(data, plan, SweepConfig(), seed)
    return sorted(int(value) for value in mixture.inputs[NUM_TRAIN:, 0, 0])


@pytest.mark.parametrize(("ratio", "num_pools"), [(1.0, 1), (2.0, 1), (0.3, 1), (1.0, 2), (0.0, 1)])
def test_a_ratio_gives_the_images_of_the_first_repetition(run, ratio, num_pools):
    experiment = read_config(run)
    replication = ReplicationConfig(num_learnings=2, num_pools=num_pools, num_seeds=3)
    write_config(run, dataclasses.replace(experiment, replication=replication))
    contents = read_contents(run, asking("images", ratio=ratio))
    assert _chosen(contents) == _of_sweep(experiment.seed, ratio, num_pools, [1.0] * NUM_DRAWN, Repetition(index=0))


def test_another_learning_gives_those_of_its_first_repetition(run):
    experiment = read_config(run)
    rows = [drawn_row("café", "token", i) | {"learning": 1} for i in range(NUM_DRAWN)]
    write_shard(run, layout.shard("café", "token", 0, 1), rows, "k")
    contents = read_contents(run, asking("images", ratio=1.0, learning=1))
    expected = _of_sweep(experiment.seed, 1.0, 1, [1.0] * NUM_DRAWN, Repetition(index=1, learning=1))
    assert _chosen(contents) == expected
    images = drawn_images(contents, "café", ("token",), NUM_TRAIN)
    assert {one.fields["learning"] for one in images} == {1}
    assert len(_chosen(read_contents(run, asking("images")))) == NUM_DRAWN, "and not those of learning 1"


def test_what_the_filters_refuse_stays(run):
    experiment = read_config(run)
    filters = dataclasses.replace(experiment.filters, keep=("no_copies",))
    write_config(run, dataclasses.replace(experiment, filters=filters))
    weights = [1.0, 0.0, 0.25, 1.0, 0.0, 1.0]
    curated = CuratedSet(
        class_name="café", source="token", learning=0, weights=weights, refused={}, similarities=[0.0] * 6
    )
    run.save(layout.CURATION, Curation(filters=["no_copies"], rows=[], judges=[], sets=[curated]), "k")
    contents = read_contents(run, asking("images"))
    images = drawn_images(contents, "café", ("token",), NUM_TRAIN)
    assert [(one.fields["index"], one.fields["weight"]) for one in images] == [(0, 1.0), (2, 0.25), (3, 1.0), (5, 1.0)]
    of_ratio = read_contents(run, asking("images", ratio=1.0))
    assert _chosen(of_ratio) == _of_sweep(experiment.seed, 1.0, 1, weights, Repetition(index=0))


def test_shards_beyond_what_the_config_asks_for_stay(run):
    write_shard(run, layout.shard("café", "token", 8), [drawn_row("café", "token", i) for i in (8, 9)], "k")
    assert _chosen(read_contents(run, asking("images"))) == list(range(NUM_DRAWN))
