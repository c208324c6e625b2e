"""Questions answered from stored features say what the modules say of the same arrays."""

import dataclasses

import numpy as np
import pytest

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import ScoringConfig
from flowerti.data.access import read_images
from flowerti.data.aligned_thumbnails import aligned_thumbnails
from flowerti.data.dataset import Record
from flowerti.data.thumbnails import thumbnails
from flowerti.features.files import StoredFeatures, write_features
from flowerti.metrics.similarity import image_similarity
from flowerti.scoring.class_features import ClassFeatures
from flowerti.scoring.class_matrix import class_matrix
from flowerti.scoring.class_task import score_one_class
from flowerti.scoring.copy_sensitivity import copy_sensitivity
from flowerti.scoring.distances import score_class
from flowerti.scoring.metric_table import METRICS, Metric
from flowerti.scoring.tasks import (
    StoredSets,
    copies_of,
    duplicates_of,
    matrix_of,
    recognition_of,
    sensitivity_of,
)

NAMES = ("rose", "lily")
CONFIG = ScoringConfig(num_permutations=99, num_floor_splits=3, num_closest_pairs=3)
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
NEW = [f"n{i}" for i in range(16)]
TRAIN, HELD_OUT, ROSE = slice(0, 12), slice(12, 28), slice(28, 36)
"""Images of the training split, of the validation split, and those drawn for the rose by its token."""
IMAGES[28] = IMAGES[4]  # of the rose
IMAGES[29] = IMAGES[3]  # of the lily


def _records(split, num):
    """Records that take turns between the classes."""
    return tuple(Record(f"{split}/{i}", i % 2, split, f"{split}/{i}.png") for i in range(num))


@pytest.fixture
def stored(tmp_path):
    """The same images as features of a network and as both kinds of thumbnails, the training images in two views."""
    run = RunDirectory(str(tmp_path))
    rng = np.random.default_rng(1)
    of_network = (IMAGES.reshape(40, -1) / 255 @ rng.normal(size=(768, 8))).astype(np.float32)

    def sets(name, rows, extractor):
        def write(what, features):
            write_features(run, f"{name}/{what}.0", features)
            return StoredFeatures(files=(f"{name}/{what}.0",))

        plain = rows[:, None]
        return StoredSets(
            run=run,
            extractor=extractor,
            config=CONFIG,
            seed=5,
            reference="validation",
            class_names=NAMES,
            train=write("train", np.concatenate([plain, plain], axis=1)[TRAIN]),
            train_records=_records("train", 12),
            held_out=write("held_out", plain[HELD_OUT]),
            held_out_records=_records("validation", 16),
            synthetic={("rose", "token"): write("token", plain[ROSE]), ("rose", "raw"): write("raw", plain[36:])},
            addresses={("rose", "token"): [f"t{i}" for i in range(8)], ("rose", "raw"): [f"r{i}" for i in range(4)]},
            text_prompt="",
            text_weights="",
        )

    pixels = {
        make.__name__: sets(make.__name__, make(IMAGES), make.__name__) for make in (thumbnails, aligned_thumbnails)
    }
    return sets("net", of_network, "net"), pixels, of_network


def test_scores_of_a_class_are_those_of_its_arrays_with_metrics_from_outside(stored, monkeypatch):
    sets, _, features = stored
    row = Metric(name="twice", label="twice", taken="all", function=lambda x, y: 2 * image_similarity(x, y))
    monkeypatch.setitem(METRICS._rows, "twice", row)
    (of_class,) = sets.classes()
    found = score_one_class(of_class)
    arrays = ClassFeatures(
        class_name="rose",
        extractor="net",
        real=features[HELD_OUT][::2],
        synthetic={"token": features[ROSE], "raw": features[36:]},
    )
    assert found == score_class(arrays, CONFIG, seed_for(5, "rose", "score/validation", 0))
    values = {d.metric: d.value for d in found.distances if d.source == "token"}
    assert values["twice"] == pytest.approx(2 * values["image_similarity"])


def test_the_matrix_holds_the_sets_and_the_training_images(stored):
    sets, _, features = stored
    rows, notes = matrix_of(sets, ["rose"])
    real = {name: features[HELD_OUT][i::2] for i, name in enumerate(NAMES)}
    given = {("rose", "token"): features[ROSE], ("rose", "raw"): features[36:], ("rose", "real"): features[TRAIN][::2]}
    assert (rows, notes) == class_matrix(given, real, NAMES, "net", 5)


def test_round_trips_of_one_image_are_left_out_of_the_matrix(stored):
    sets, _, features = stored
    write_features(sets.run, "same.0", np.repeat(features[:1, None], 4, axis=0))
    same = StoredFeatures(files=("same.0",))
    addresses = sets.addresses | {("rose", "round_trip"): ["r0"] * 4}
    more = dataclasses.replace(sets, synthetic=sets.synthetic | {("rose", "round_trip"): same}, addresses=addresses)
    rows, notes = matrix_of(more, ["rose"])
    assert rows == matrix_of(sets, ["rose"])[0]
    assert notes == ["rose, round_trip: no distances to other classes, since all its images are the same."]
    alone = dataclasses.replace(more, synthetic={("rose", "round_trip"): same}, train_records=sets.train_records[:1])
    write_features(sets.run, "one.0", features[:1, None])
    assert matrix_of(dataclasses.replace(alone, train=StoredFeatures(files=("one.0",))), ["rose"]) == ([], notes)
    broken = dataclasses.replace(more, synthetic={("rose", "token"): same})
    with pytest.raises(ValueError, match=r"class .rose., source .token..*nothing varies"):
        matrix_of(broken, ["rose"])


def test_blocks_of_the_matrix_are_the_whole_one(stored):
    sets, _, _ = stored
    more = {("lily", "raw"): sets.synthetic["rose", "raw"]}
    sets = dataclasses.replace(
        sets, synthetic=sets.synthetic | more, addresses=sets.addresses | {("lily", "raw"): list("abcd")}
    )
    whole, _ = matrix_of(sets, sets.selected)
    blocks = [row for name in sets.selected for row in matrix_of(sets, [name])[0]]
    assert [(row.class_name, row.source, row.metric, row.rank, row.nearest, row.num_real) for row in blocks] == [
        (row.class_name, row.source, row.metric, row.rank, row.nearest, row.num_real) for row in whole
    ]
    assert {row.num_synthetic for row in blocks if row.metric == "frechet"} == {4}, "as many as the smallest set has"
    np.testing.assert_allclose([row.values for row in blocks], [row.values for row in whole], rtol=1e-9)


def test_recognition_counts_every_set_and_needs_two_classes_for_training_on_a_source(stored):
    found = recognition_of(stored[0])
    counted = [(row.class_name, row.source, row.num_images) for row in found.recognition]
    assert counted == [("rose", "real", 8), ("rose", "token", 8), ("rose", "raw", 4)]
    assert found.trained_on_source == []
    assert found.notes == ["1 class(es) selected: a classifier among them alone needs at least 2."]


def test_copied_training_images_of_any_class_are_found_by_their_pixels(stored):
    sets, pixels, _ = stored
    (token, raw), notes = copies_of(sets, pixels["aligned_thumbnails"], frozenset())
    assert {(pair.image, pair.train_id) for pair in token.copies} == {("t0", "train/4"), ("t1", "train/3")}
    assert (token.source, token.num_images, token.num_compared, len(token.closest)) == ("token", 8, 12, 3)
    assert (raw.source, raw.copies, notes) == ("raw", [], [])


def test_copies_of_held_out_images_that_the_base_has_seen_are_found_too(stored):
    sets, pixels, _ = stored
    shown = pixels["aligned_thumbnails"]
    copied = dataclasses.replace(sets, synthetic={("rose", "token"): sets.held_out}, addresses={("rose", "token"): NEW})
    drawn = dataclasses.replace(shown, synthetic={("rose", "token"): shown.held_out})
    (unseen,), _ = copies_of(copied, drawn, frozenset())
    assert unseen.copies == []
    (seen,), _ = copies_of(copied, drawn, frozenset({"validation/2", "validation/5", "test/0"}))
    assert {(pair.image, pair.train_id) for pair in seen.copies} == {("n2", "validation/2"), ("n5", "validation/5")}
    assert seen.num_compared == 12 + 2


def test_where_every_held_out_image_is_a_copy_there_is_a_note_and_no_p_value(stored):
    sets, pixels = (dataclasses.replace(s, held_out=s.train, held_out_records=s.train_records) for s in _pair(stored))
    checks, notes = copies_of(sets, pixels, frozenset())
    assert [(check.p_value, check.similarity_limit) for check in checks] == [(None, None)] * 2
    assert [len(check.copies) for check in checks] == [2, 0]
    assert len(notes) == 1 and notes[0].startswith("Every held-out image copies a training image")


def _pair(stored):
    return stored[0], stored[1]["aligned_thumbnails"]


def test_copies_are_planted_in_the_runs_own_training_images(stored):
    addresses = [f"herbarium:daisy:{i}" for i in range(5)]
    records = tuple(Record(f"train/{i}", 0, "train", address) for i, address in enumerate(addresses))
    found = sensitivity_of(dataclasses.replace(stored[0], train_records=records), 64)
    assert found == copy_sensitivity(read_images(addresses, 64))


def test_duplicates_are_looked_for_across_splits_and_among_known_images_only(stored):
    pixels = stored[1]["thumbnails"]
    splits = [(pixels.train, pixels.train_records), (pixels.held_out, pixels.held_out_records)]
    assert duplicates_of(pixels.run, NAMES, splits, []) == []
    (found,) = duplicates_of(pixels.run, NAMES, splits, [["train/1", "validation/2"], ["train/0", "test/0"]])
    assert (found.first_id, found.second_id, found.is_identical) == ("train/1", "validation/2", True)
    assert (found.first_class, found.second_class) == ("lily", "rose")
