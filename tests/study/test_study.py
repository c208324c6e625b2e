"""Preflight: a good run is established once, and a run directory or disk that cannot serve it is refused."""

import dataclasses
import json
import shutil
import urllib.error
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from refusals import CLASSES, changed, refusal

from flowerti import study
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import (
    DataConfig,
    Experiment,
    SamplingConfig,
    SelectionConfig,
    TextualInversionConfig,
    from_json,
)
from flowerti.config.presets import flowers102
from flowerti.data import inspection
from flowerti.data.census import listing_key
from flowerti.data.image_hashes import ImageHashes
from flowerti.data.image_pass import ImagePass


def test_a_good_run_is_established_and_written_down(experiment: Experiment, run: RunDirectory):
    found = study.prepare(experiment, run)
    assert found.experiment == experiment
    assert found.dataset.class_names == CLASSES
    assert len(found.dataset.records) == 18
    assert [(c.num_train, c.num_validation, c.num_test) for c in found.census.counts] == [(2, 2, 2)] * 3
    assert len(found.base_sha256) == 64
    assert found.alternative_names == {"azalea": "rhododendron", "sword lily": "gladiolus"}
    assert run.names("") == ["base.json", "config.json", "data.json", "image_hashes.json", "splits.json"]
    assert from_json(run.read_bytes("config.json").decode()) == experiment


def test_the_second_start_opens_no_image(experiment: Experiment, run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    first = study.prepare(experiment, run)
    monkeypatch.setattr(inspection, "take_census", lambda *_: pytest.fail("the census was taken again"))
    assert study.prepare(experiment, run) == first


def test_a_changed_folder_is_counted_again(experiment: Experiment, run: RunDirectory, images: Path):
    first = study.prepare(experiment, run)
    shutil.copy(images / "train/azalea/0.png", images / "test/azalea/9.png")
    second = study.prepare(experiment, run)
    assert second.census.fingerprint != first.census.fingerprint
    assert second.census.duplicates == [["test/azalea/9.png", "train/azalea/0.png"]]


def test_a_census_of_an_earlier_version_is_taken_again(experiment: Experiment, run: RunDirectory):
    first = study.prepare(experiment, run)
    record = json.loads(run.read_bytes("data.json"))
    listing = listing_key(first.dataset, ImageHashes(None, ImagePass(experiment.data)))
    old = {name: value for name, value in record.items() if name != "train_sha256"}
    old["key"] = key_of(listing, experiment.data.skip_unreadable)
    run.write_bytes("data.json", json.dumps(old).encode())
    assert study.prepare(experiment, run) == first
    assert json.loads(run.read_bytes("data.json")) == record


def test_no_disk_space(experiment: Experiment, run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9 - 12 * 10**6, 12 * 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    message = refusal(experiment, run)
    assert run.uri in message
    assert "12 MB are free" in message


def test_a_run_directory_that_is_a_file(experiment: Experiment, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    for uri in (f"{tmp_path}/file", f"{tmp_path}/file/below"):
        message = refusal(experiment, RunDirectory(uri))
        assert uri in message
        assert "not a writable folder" in message


@pytest.mark.parametrize(
    ("stage", "value"),
    [("name", "other"), ("seed", 1), ("data", {"image_size_px": 9}), ("base", {"dtype": "bfloat16"})],
)
def test_a_run_directory_of_another_run(experiment: Experiment, run: RunDirectory, stage: str, value: Any):
    study.prepare(experiment, run)
    if isinstance(value, dict):
        other = changed(experiment, stage, **value)
    else:
        other = dataclasses.replace(experiment, **{stage: value})
    message = refusal(other, run)
    assert run.uri in message
    assert f"another {stage}:" in message


def test_a_run_directory_of_another_preset(experiment: Experiment, run: RunDirectory):
    study.prepare(experiment, run)
    message = refusal(flowers102(), run)
    assert "another name, data, base" in message


def test_a_run_directory_with_a_damaged_config(experiment: Experiment, run: RunDirectory):
    for content in (b"{", b"\xff\xfe", b"[]"):
        run.write_bytes("config.json", content)
        assert f"{run.uri}/config.json" in refusal(experiment, run)


@pytest.mark.parametrize(
    ("stage", "values"),
    [("textual_inversion", {"num_steps": 7}), ("cluster", {"num_workers": 1}), ("replication", {"num_seeds": 9})],
)
def test_a_changed_setting_is_accepted_and_written_down(
    experiment: Experiment, run: RunDirectory, stage: str, values: dict[str, Any]
):
    study.prepare(experiment, run)
    other = changed(experiment, stage, **values)
    assert study.prepare(other, run).experiment == other
    assert from_json(run.read_bytes("config.json").decode()) == other


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither torchvision nor Hugging Face can fetch anything, and nothing was fetched before."""

    def refuse(*_args: object, **_options: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.usefixtures("no_network")
def test_the_full_study_says_step_by_step_what_to_fetch(images: Path, run: RunDirectory, tmp_path: Path):
    wanted = changed(flowers102(), "data", root=str(tmp_path / "data"))
    message = refusal(wanted, run)
    assert "scoring.weights" in message
    assert "weights-inception-2015-12-05-6726825d.pth" in message
    (tmp_path / "inception.pth").write_bytes(b"weights")
    wanted = changed(wanted, "scoring", weights=(str(tmp_path / "inception.pth"),))
    message = refusal(wanted, run)
    assert message.startswith("data.root: ")
    assert "102flowers.tgz" in message
    folder = DataConfig(kind="image_folder", root=str(images))
    selection = SelectionConfig(num_classes=1)
    message = refusal(dataclasses.replace(wanted, data=folder, selection=selection), run)
    assert message.startswith("base.path: stable-diffusion-v1-5/stable-diffusion-v1-5 ")
    assert "hf download stable-diffusion-v1-5/stable-diffusion-v1-5" in message


def test_what_is_cheap_to_check_comes_before_images_are_opened(experiment: Experiment, run: RunDirectory, images: Path):
    for file in images.rglob("*.png"):
        file.write_bytes(b"not an image")
    assert refusal(experiment, run).startswith("image ")
    bad = [
        changed(experiment, "selection", num_classes=3),
        changed(experiment, "base", path="./none"),
        changed(experiment, "textual_inversion", initializer_token="sword lily"),
        changed(experiment, "classifier", backbone="none"),
        changed(experiment, "sampling", alternative_names_file="none.json"),
    ]
    for one in bad:
        assert not refusal(one, run).startswith("image ")


def test_settings_that_are_refused_when_built_never_get_here(experiment: Experiment):
    with pytest.raises(ValueError, match=r"^sampling\.prompt"):
        changed(experiment, "sampling", prompt="a flower")
    assert isinstance(experiment.techniques["textual_inversion"], TextualInversionConfig)
    assert isinstance(experiment.sampling, SamplingConfig)


def test_a_data_set_as_it_is_has_one_draw_of_training_images(experiment: Experiment, run: RunDirectory):
    found = study.prepare(experiment, run)
    assert found.drawn_images("azalea", 0) == found.dataset.of("train", "azalea")
    assert found.drawn_sha256("azalea", 0) == found.census.train_sha256["azalea"]
    assert found.training_draws(["azalea"]).rows == ()
    refused = refusal(changed(experiment, "replication", num_draws=2), run)
    assert refused.startswith("replication.num_draws: 2 draws of training images need some that imbalance.factor")
