"""A data source that the package has never heard of goes through preflight, census, workers and scoring."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from flowerti import study
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cluster.extractors import THUMBNAILS
from flowerti.cluster.feature_worker import FeatureWorker
from flowerti.cluster.image_sets import ClassifierInput, real_set
from flowerti.config.data import DataConfig
from flowerti.config.data_sources import DATA_SOURCES, DataSource
from flowerti.config.experiment import (
    BaseConfig,
    ClassifierConfig,
    Experiment,
    ScoringConfig,
    SelectionConfig,
    from_json,
    to_json,
)
from flowerti.data.access import list_records, read_images
from flowerti.data.census import digest_of_class
from flowerti.data.dataset import SPLITS, Dataset, Record
from flowerti.data.sources.implementation import ImageReader, Implementation
from flowerti.data.thumbnails import thumbnails
from flowerti.features.files import StoredFeatures
from flowerti.tables import plugins as table_plugins
from flowerti.tables.sources import ClassNames

PERIODS = {"narrow": 4, "wide": 16}


def _list_records(config: DataConfig, seed: int) -> Dataset:
    counts = zip(SPLITS, (config.num_train_rare, config.num_validation, config.num_test), strict=True)
    records = [
        Record(f"{name}/{split}/{i}", class_id, split, f"stripes:{name}:{seed}{SPLITS.index(split)}{i}")
        for split, count in counts
        for class_id, name in enumerate(PERIODS)
        for i in range(count)
    ]
    return Dataset(tuple(PERIODS), tuple(records))


def _draw(address: str, size_px: int) -> np.ndarray:
    _, name, seed = address.split(":")
    rng = np.random.default_rng(int(seed))
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * np.arange(size_px) / PERIODS[name] + rng.uniform(0, 6.3))
    return np.broadcast_to(255 * wave[None, :, None] * rng.uniform(0.5, 1, 3), (size_px, size_px, 3)).astype(np.uint8)


def _names() -> Mapping[str, ClassNames]:
    return {"wide": ClassNames(class_name="wide", alternative="broad stripes", latin="striae latae")}


STRIPES = Implementation(
    list_records=_list_records,
    images=ImageReader(identify=lambda address: f"{address}:rule 1".encode(), stamp_of=str, draw=_draw),
    known_names=_names,
)
PLUGIN = f"{__name__}:register_stripes"


def register_stripes() -> None:
    """The plugin: what a user's module would hold."""
    DATA_SOURCES.add(
        DataSource(
            name="stripes",
            label="stripes of two widths",
            prefix="stripes:",
            needs_root=False,
            is_drawn=True,
            implementation=f"{__name__}:STRIPES",
        )
    )


@pytest.fixture(autouse=True)
def _plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin is loaded, and gone after the test."""
    monkeypatch.setenv("FLOWERTI_PLUGINS", "")
    monkeypatch.setattr(table_plugins, "_loaded", set())
    monkeypatch.setattr(DATA_SOURCES, "_rows", dict(DATA_SOURCES._rows))
    table_plugins.load_plugins([PLUGIN])


@pytest.fixture
def experiment(tiny_base: Path) -> Experiment:
    return Experiment(
        name="stripes",
        data=DataConfig(kind="stripes", image_size_px=32, num_train_rare=3, num_validation=4, num_test=5),
        base=BaseConfig(path=str(tiny_base)),
        classifier=ClassifierConfig(backbone="resnet18"),
        selection=SelectionConfig(num_classes=1),
        scoring=ScoringConfig(extractors=("resnet18",)),
        plugins=(PLUGIN,),
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(str(tmp_path / "run"))


def test_it_passes_preflight_and_is_counted_and_named(experiment: Experiment, run: RunDirectory):
    found = study.prepare(experiment, run)
    assert found.dataset == list_records(experiment.data, 0)
    assert [(c.class_name, c.num_train, c.num_validation, c.num_test) for c in found.census.counts] == [
        ("narrow", 3, 4, 5),
        ("wide", 3, 4, 5),
    ]
    assert found.census.duplicates == []
    assert digest_of_class(found.census, "narrow") != digest_of_class(found.census, "wide")
    assert found.alternative_names == {"wide": "broad stripes"}
    assert found.latin_names == {"wide": "striae latae"}
    assert study.prepare(experiment, run) == found


def test_another_rule_is_another_data_set(
    experiment: Experiment, run: RunDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    before = study.prepare(experiment, run).census
    images = dataclasses.replace(STRIPES.images, identify=lambda address: f"{address}:rule 2".encode())
    monkeypatch.setattr(sys.modules[__name__], "STRIPES", dataclasses.replace(STRIPES, images=images))
    after = study.prepare(experiment, RunDirectory(str(tmp_path / "other"))).census
    assert after.fingerprint != before.fingerprint
    assert all(after.train_sha256[name] != before.train_sha256[name] for name in PERIODS)


def test_a_worker_reads_it_for_scoring_and_for_the_classifier(experiment: Experiment, run: RunDirectory):
    found = study.prepare(experiment, run)
    wanted = real_set(found, "validation")
    assert len(wanted.addresses) == len(found.dataset.of("validation")) > 0
    want = {"file": "features/x/a.npy", "set": "x", "begin": 0, "num_views": 1, "run_seed": 0, "backbone": 0}
    chunk = {"addresses": wanted.addresses, "image_size_px": wanted.image_size_px, "is_round_trip": False}
    chunk |= {"wants": [want | {"views": wanted.views}]}
    FeatureWorker((THUMBNAILS,), run, 1, "cpu")({"chunk": [json.dumps(chunk)]})
    expected = np.stack([_draw(address, 32) for address in wanted.addresses])
    assert np.array_equal(StoredFeatures(files=("features/x/a.npy",)).read(run)[:, 0], thumbnails(expected))
    of_classifier = ClassifierInput(features=None, addresses=tuple(wanted.addresses), image_size_px=32)
    assert np.array_equal(of_classifier.read(run), expected)


def test_another_process_learns_of_it_from_the_config_or_from_the_environment(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
):
    address = list_records(experiment.data, 0).records[0].address
    by_environment = (
        "import hashlib; from flowerti.data.access import read_image; "
        f"print(hashlib.sha256(read_image({address!r}, 16).tobytes()).hexdigest())"
    )
    by_config = (
        "import hashlib, sys; from flowerti.config.experiment import from_json; "
        "from flowerti.data.access import list_records, read_image; config = from_json(sys.stdin.read()); "
        "address = list_records(config.data, 0).records[0].address; "
        "print(hashlib.sha256(read_image(address, 16).tobytes()).hexdigest())"
    )
    expected = hashlib.sha256(read_images([address], 16)[0].tobytes()).hexdigest()
    here = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, *sys.path])}
    for code, plugins in ((by_environment, PLUGIN), (by_config, "")):
        told = subprocess.run(
            [sys.executable, "-c", code],
            input=to_json(experiment),
            env=environment | {"FLOWERTI_PLUGINS": plugins},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == expected


def test_a_config_that_names_it_survives_json(experiment: Experiment):
    assert from_json(to_json(experiment)) == experiment


def test_without_the_plugin_its_name_is_refused(experiment: Experiment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOWERTI_PLUGINS", "")
    monkeypatch.setattr(DATA_SOURCES, "_rows", {n: r for n, r in DATA_SOURCES._rows.items() if n != "stripes"})
    expected = r"^data\.kind must be one of herbarium, flowers102, image_folder, parquet, csv, not 'stripes'$"
    with pytest.raises(ValueError, match=expected):
        dataclasses.replace(experiment.data)
