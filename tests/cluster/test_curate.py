"""Filters between sampling and sweep: each learning beside its own training images, and on a real Ray a whole sweep."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_sweep import POOL_SIZE, SWEEP, WEAK, pools, selection, study_of

from flowerti.artifacts import layout
from flowerti.artifacts.curation import Curation
from flowerti.artifacts.records import ImageSet, SweepTable
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster import session
from flowerti.cluster.curate import CurationInputs, _clip_ids, curate_all
from flowerti.cluster.sweep import sweep
from flowerti.cluster.trial_arrays import read_pools
from flowerti.config.experiment import (
    BaseConfig,
    ClassifierConfig,
    DataConfig,
    Experiment,
    FiltersConfig,
    ReplicationConfig,
)
from flowerti.features.files import StoredFeatures, write_features
from flowerti.progress import Event, Info, Progress
from flowerti.study import Study

DIM = 20


def stored(run: RunDirectory, name: str, features: np.ndarray) -> StoredFeatures:
    write_features(run, name, np.repeat(features[:, None], 2, axis=1).astype(np.float32))
    return StoredFeatures(files=(name,))


def inputs_in(tmp_path: Path, keep: tuple[str, ...], **changes: Any) -> CurationInputs:
    """Two classes; class 1 has rows 8 to 10 in draw 0 and rows 9 to 11 in draw 1, of which 9 and 10
    are alike."""
    run, rng = RunDirectory(str(tmp_path)), np.random.default_rng(0)
    ids = np.array([0] * 8 + [1] * 4)
    train = np.eye(2, DIM)[ids] + rng.normal(size=(12, DIM))
    train[10] = train[9] + 0.1 * rng.normal(size=DIM)
    drawn = np.eye(2, DIM)[[1] * 4] + rng.normal(size=(4, DIM))
    experiment = Experiment(
        name="filtered",
        data=DataConfig(kind="herbarium"),
        base=BaseConfig(path="none"),
        classifier=ClassifierConfig(num_epochs=40, batch_size=8, learning_rate=0.05),
        replication=ReplicationConfig(num_draws=2, num_learnings=1),
        filters=FiltersConfig(keep=keep, share=0.5, top_k=1),
    )
    sets = [
        ImageSet(class_name="b", source=source, learning=learning, prompt="", num_images=4, files=[], key="k")
        for source, learning in (("raw", 0), ("token", 0), ("token", 1))
    ]
    # image 0 is a training image of draw 1 alone, image 1 one of draw 0 alone
    drawn[0], drawn[1] = train[11], train[8]
    given = CurationInputs(
        run=run,
        experiment=experiment,
        class_names=("a", "b"),
        sets=tuple(sets),
        train=(stored(run, "train", train[:11]), stored(run, "spare", train[11:])),
        train_ids=ids,
        draws=(np.arange(11), np.array([*range(8), 9, 10, 11])),
        drawn=tuple(stored(run, f"drawn{i}", drawn) for i in range(3)),
        clip=(),
    )
    return dataclasses.replace(given, **changes)


def test_images_are_held_against_the_training_images_of_their_learning(tmp_path: Path):
    found = curate_all(inputs_in(tmp_path, ("no_copies",)))
    assert [one.weights[:2] for one in found.sets] == [[1, 0], [1, 0], [0, 1]]
    assert [round(one.similarities[i], 6) for one, i in zip(found.sets, (1, 1, 0), strict=True)] == [1, 1, 1]
    assert found.judges == []


def test_each_draw_has_a_judge_that_saw_its_training_images_alone(tmp_path: Path):
    found = curate_all(inputs_in(tmp_path, ("confidence", "top_share")))
    assert [judge.draw for judge in found.judges] == [0, 1]
    raw, first, second = (np.array(one.weights) for one in found.sets)
    assert (raw == first).all(), "what all learnings share has the judge of the first draw"
    assert (first != second).any()
    assert ((first > 0).sum(), (second > 0).sum()) == (2, 2)
    assert curate_all(inputs_in(tmp_path, ("confidence", "top_share"))) == found
    (row,) = [row for row in found.rows if row.source == "token"]
    assert (row.num_drawn, row.num_kept) == (8, 4)


def test_clip_names_the_class_with_the_highest_cosine():
    texts = np.eye(3)
    images = np.array([[9.0, 8, 0], [0.1, 0.2, 0.3], [0, 2, 1]])
    assert _clip_ids(images, texts).tolist() == [0, 2, 1]


def test_weights_of_shards_and_of_filters_multiply(tmp_path: Path):
    study = study_of(tmp_path)
    sets = pools(study.run, weight=0.5)
    plain = read_pools(study, sets)
    weights = np.linspace(0, 1, POOL_SIZE)
    given = Curation(filters=[], rows=[], judges=[], sets=[])
    rows = {s.class_name: weights if s.class_name == WEAK[0] else np.ones(POOL_SIZE) for s in sets}
    given.sets.extend(
        curated_set(s, rows[s.class_name].tolist()) for s in sets
    )  # the second class keeps what its shards say
    found = read_pools(study, sets, given)
    np.testing.assert_allclose(found[0].weights, weights * plain[0].weights)
    assert found[0].key != plain[0].key
    assert found[1].key == plain[1].key


def curated_set(images: ImageSet, weights: list[float]) -> Any:
    from flowerti.artifacts.curation import CuratedSet

    return CuratedSet(
        class_name=images.class_name, source=images.source, learning=0, weights=weights, refused={}, similarities=[]
    )


def with_filters(study: Study, **settings: Any) -> Study:
    return dataclasses.replace(
        study, experiment=dataclasses.replace(study.experiment, filters=FiltersConfig(**settings))
    )


@pytest.mark.ray
def test_a_sweep_trains_with_what_the_filters_keep_and_leaves_out_a_class_without_any(tmp_path: Path):
    config = dataclasses.replace(SWEEP, ratios=(1.0,), free_arms=("real",), negative_control=False)
    study, heard = study_of(tmp_path, config), list[Event]()
    sets = pools(study.run)
    # the second weak class has the first one's images
    sets[1] = dataclasses.replace(sets[1], files=sets[0].files, key="the first class's")
    filtered = with_filters(study, keep=("top_share", "top_k"), share=0.9, top_k=1)
    filtered = dataclasses.replace(
        filtered, experiment=dataclasses.replace(filtered.experiment, classifier=JUDGING_WELL)
    )
    progress = Progress("sweep", [heard.append])
    try:
        table = sweep(filtered, selection(), sets, progress)
    finally:
        session.close()
    assert isinstance(table, SweepTable) and table.failures == []
    found = study.run.load(layout.CURATION, Curation)
    assert found is not None
    assert found.left_out == [(WEAK[1], "token")]
    assert found.rows[0].num_kept >= 3
    assert found.judges[0].accuracy > 0.25, "of fourteen classes"
    said = [event.text for event in heard if isinstance(event, Info)]
    assert said[0] == f"filtering {2 * POOL_SIZE} images by top_share, top_k"
    assert f"{WEAK[1]}: 0 of {POOL_SIZE} images of source token are kept, too few for every learning" in said[2]
    names = study.run.names("features")
    assert not [name for name in names if "real.validation.mirrored" in name or "real.test.mirrored" in name]


JUDGING_WELL = ClassifierConfig(input_size_px=64, num_epochs=20, num_views=2)
