"""Round trips of training images reach a trial: as features for a head, as images for a network trained as a whole."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from features_here import compute_here
from test_sweep import pools, selection, study_of

from flowerti.cluster import trial_arrays
from flowerti.cluster.image_sets import classifier_backbone, real_set, through_base
from flowerti.config.experiment import BaseConfig
from flowerti.data.access import read_images
from flowerti.diffusion import load_base
from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import extract
from flowerti.generation.image_to_image import round_trips
from flowerti.progress import Progress
from flowerti.study import Study
from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial_data import TrialData
from flowerti.tables.arms import ARMS


def study_with(base: Path, folder: Path, mode: Literal["head", "full"]) -> Study:
    study = study_of(folder)
    classifier = dataclasses.replace(study.experiment.classifier, mode=mode)
    experiment = dataclasses.replace(study.experiment, base=BaseConfig(path=str(base)), classifier=classifier)
    return dataclasses.replace(study, experiment=experiment, base_sha256="of the base")


def data_for(study: Study, *names: str) -> TrialData:
    plans = [TrialPlan(arm=ARMS[n], ratio=0.5, repetition=Repetition(index=0), split="validation") for n in names]
    draws = study.training_draws([s.class_name for s in selection().selected])
    found = trial_arrays.read_pools(study, pools(study.run))
    return trial_arrays._inputs(study, found, draws, plans, Progress()).read()


def images_after_base(base: Path, study: Study) -> np.ndarray:
    addresses = [record.address for record in study.records_of("train")]
    return round_trips(load_base(base, "float32", "cpu"), read_images(addresses, 64))


def test_a_head_gets_the_features_of_round_trips_row_by_row(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    computed = compute_here(monkeypatch)
    study = study_with(tiny_base, tmp_path, "head")
    data = data_for(study, "round_trip_all", "augmented+round_trip_all")
    assert {"round_trips.train.mirrored", "round_trips.train.augmented"} <= set(computed)
    assert data.round_trips is not None and data.augmented_round_trips is not None and data.augmented is not None
    assert data.round_trips.shape == data.train.shape
    assert data.augmented_round_trips.shape == data.augmented.shape
    images = images_after_base(tiny_base, study)[:32]
    direct = extract(load_backbone("efficientnet_lite0", "", 64), images)
    np.testing.assert_allclose(data.round_trips[:32, 0], direct, atol=1e-4)
    assert np.abs(data.round_trips[:32, 0] - data.train[:32, 0]).max() > 0.1, "and they are no plain images"
    computed.clear()
    plain = data_for(study, "real")
    assert plain.round_trips is None and plain.augmented_round_trips is None
    assert computed == []


def test_a_whole_network_gets_the_images_themselves(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    computed = compute_here(monkeypatch)
    study = study_with(tiny_base, tmp_path, "full")
    data = data_for(study, "round_trip_all", "token_round_trip_rest", "augmented+round_trip_all")
    assert computed == ["round_trips.train.plain"], "images that lie somewhere are read there"
    assert data.round_trips is not None and data.augmented_round_trips is None
    assert data.round_trips.dtype == data.train.dtype == np.uint8
    expected = images_after_base(tiny_base, study)[:32]
    assert np.abs(data.round_trips[:32].astype(int) - expected.astype(int)).max() <= 1
    assert data.round_trips.shape == data.train.shape


def test_another_base_makes_other_round_trips(tiny_base: Path, tmp_path: Path):
    study = study_with(tiny_base, tmp_path, "head")
    images = real_set(study, "train", "mirrored")
    other = dataclasses.replace(study, base_sha256="of another one")
    one, two = through_base(study, images), through_base(other, images)
    backbone = classifier_backbone(study)
    keys = {found.key(backbone, "w") for found in (images, one, two)}
    assert len(keys) == 3
    assert one.name == "round_trips.train.mirrored"


def test_some_round_trips_do_not_take_the_place_of_all(tiny_base: Path, tmp_path: Path):
    """Features under one name are deleted when others are computed: all of them have another."""
    study = study_with(tiny_base, tmp_path, "head")
    images = real_set(study, "train", "mirrored")
    some, others = (through_base(study, images, np.array(rows)) for rows in ([0, 3], [0, 4]))
    assert some.addresses == [images.addresses[0], images.addresses[3]]
    assert some.name != through_base(study, images).name
    assert some.content_key != others.content_key
