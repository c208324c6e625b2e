"""Preflight: each bad input is refused by name before any work, and a good one is established once."""

import dataclasses
import json
import shutil
import urllib.error
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flowerti import study
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.base_files import PARTS
from flowerti.config.experiment import (
    BaseConfig,
    ClassifierConfig,
    DataConfig,
    Experiment,
    SamplingConfig,
    ScoringConfig,
    SelectionConfig,
    TextualInversionConfig,
    from_json,
)
from flowerti.config.presets import flowers102
from flowerti.data.census import listing_key
from flowerti.data.dataset import SPLITS

CLASSES = ("azalea", "sword lily", "zinnia")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for class_name in CLASSES:
            folder = tmp_path / "images" / split / class_name
            folder.mkdir(parents=True)
            for index in range(2):
                image = rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)
                Image.fromarray(image).save(folder / f"{index}.png")
    return tmp_path / "images"


@pytest.fixture
def experiment(images: Path, tiny_base: Path) -> Experiment:
    return Experiment(
        name="small",
        data=DataConfig(kind="image_folder", root=str(images), image_size_px=8),
        base=BaseConfig(path=str(tiny_base)),
        classifier=ClassifierConfig(backbone="resnet18"),
        selection=SelectionConfig(num_classes=1),
        scoring=ScoringConfig(extractors=("resnet18",)),
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(str(tmp_path / "run"))


def changed(experiment: Experiment, stage: str, **values: Any) -> Experiment:
    if stage in experiment.techniques:
        settings = dataclasses.replace(experiment.techniques[stage], **values)
        return dataclasses.replace(experiment, techniques={**experiment.techniques, stage: settings})
    return dataclasses.replace(experiment, **{stage: dataclasses.replace(getattr(experiment, stage), **values)})


def refusal(experiment: Experiment, run: RunDirectory) -> str:
    """The message of a refusal, after checking that it is one line and came before any file was written."""
    before = {name: run.read_bytes(name) for name in run.names("")}
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the callers look at the message
        study.prepare(experiment, run)
    message = str(caught.value)
    assert "\n" not in message
    assert {name: run.read_bytes(name) for name in run.names("")} == before
    return message


def test_a_good_run_is_established_and_written_down(experiment: Experiment, run: RunDirectory):
    found = study.prepare(experiment, run)
    assert found.experiment == experiment
    assert found.dataset.class_names == CLASSES
    assert len(found.dataset.records) == 18
    assert [(c.num_train, c.num_validation, c.num_test) for c in found.census.counts] == [(2, 2, 2)] * 3
    assert len(found.base_sha256) == 64
    assert found.alternative_names == {"azalea": "rhododendron", "sword lily": "gladiolus"}
    assert run.names("") == ["config.json", "data.json", "splits.json"]
    assert from_json(run.read_bytes("config.json").decode()) == experiment


def test_the_second_start_opens_no_image(experiment: Experiment, run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    first = study.prepare(experiment, run)
    monkeypatch.setattr(study, "take_census", lambda *_: pytest.fail("the census was taken again"))
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
    listing = listing_key(first.dataset)
    old = {name: value for name, value in record.items() if name != "train_sha256"}
    old["key"] = key_of(listing, experiment.data.skip_unreadable)
    run.write_bytes("data.json", json.dumps(old).encode())
    assert study.prepare(experiment, run) == first
    assert json.loads(run.read_bytes("data.json")) == record


def test_a_missing_data_folder(experiment: Experiment, run: RunDirectory, images: Path):
    shutil.rmtree(images)
    message = refusal(experiment, run)
    assert message.startswith("data.root: ")
    assert str(images) in message


@pytest.mark.parametrize("split", SPLITS)
def test_a_class_without_images(experiment: Experiment, run: RunDirectory, images: Path, split: str):
    for file in (images / split / "zinnia").iterdir():
        file.unlink()
    message = refusal(experiment, run)
    assert "'zinnia'" in message
    assert split in message


def test_an_unreadable_image(experiment: Experiment, run: RunDirectory, images: Path):
    broken = images / "validation/zinnia/1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    message = refusal(experiment, run)
    assert str(broken) in message
    assert "data.skip_unreadable" in message
    skipping = changed(experiment, "data", skip_unreadable=True)
    found = study.prepare(skipping, run)
    assert found.census.unreadable == ["validation/zinnia/1.png"]
    assert "validation/zinnia/1.png" not in {r.id for r in found.dataset.records}


def test_an_unknown_class_in_the_selection(experiment: Experiment, run: RunDirectory):
    fixed = changed(experiment, "selection", rule="fixed", class_names=("azalea", "sword lilly"))
    message = refusal(fixed, run)
    assert message.startswith("selection.class_names: ")
    assert "'sword lilly'" in message
    assert "did you mean sword lily" in message
    nothing_near = changed(experiment, "selection", rule="fixed", class_names=("qqq",))
    assert "azalea" in refusal(nothing_near, run)


def add_held_out(images: Path, class_name: str, split: str) -> None:
    for index in (2, 3):
        level = np.full((10, 10, 3), 10 * index + len(split), dtype=np.uint8)
        Image.fromarray(level).save(images / split / class_name / f"{index}.png")


def test_a_fixed_selection_that_its_images_cannot_serve(experiment: Experiment, run: RunDirectory, images: Path):
    add_held_out(images, "azalea", "validation")
    add_held_out(images, "azalea", "test")
    fixed = changed(experiment, "selection", rule="fixed", class_names=("azalea",))
    greedy = changed(fixed, "sweep", ratios=(1.0, 40.0))
    message = refusal(changed(greedy, "sampling", num_per_class=79), run)
    assert message.startswith("sampling.num_per_class: 79 images are too few for ratio 40 of class 'azalea'")
    assert "at least 80" in message
    study.prepare(changed(greedy, "sampling", num_per_class=80), run)


def test_a_fixed_selection_that_could_not_be_scored(experiment: Experiment, run: RunDirectory, images: Path):
    fixed = changed(experiment, "selection", rule="fixed", class_names=("azalea",))
    for split in ("validation", "test"):
        message = refusal(fixed, run)
        assert message.startswith(f"class 'azalea' has 2 {split} images: scoring needs at least 4")
        add_held_out(images, "azalea", split)
    study.prepare(fixed, run)


def test_a_class_chosen_by_evidence_must_be_scored_as_well(experiment: Experiment, run: RunDirectory, images: Path):
    dataset = study.prepare(experiment, run).dataset
    with pytest.raises(ValueError, match="class 'zinnia' has 2 validation images"):
        study.check_held_out(dataset, ["zinnia"])


def test_not_every_class_can_be_weak(experiment: Experiment, run: RunDirectory):
    message = refusal(changed(experiment, "selection", num_classes=3), run)
    assert message.startswith("selection: ")
    study.prepare(changed(experiment, "selection", num_classes=2), run)


@pytest.mark.parametrize("missing", [*PARTS, "model_index.json"])
def test_a_base_without_a_part(
    experiment: Experiment, run: RunDirectory, tiny_base: Path, tmp_path: Path, missing: str
):
    folder = tmp_path / "base"
    folder.mkdir()
    for entry in tiny_base.iterdir():
        if entry.name != missing:
            (folder / entry.name).symlink_to(entry)
    message = refusal(changed(experiment, "base", path=str(folder)), run)
    assert message.startswith("base.path: ")
    assert str(folder) in message
    assert missing in message
    (folder / missing).symlink_to(tiny_base / missing)
    study.prepare(changed(experiment, "base", path=str(folder)), run)


@pytest.mark.parametrize("part", ["vae", "text_encoder", "unet"])
def test_a_part_without_weights(experiment: Experiment, run: RunDirectory, tiny_base: Path, tmp_path: Path, part: str):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    for file in (folder / part).glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    message = refusal(changed(experiment, "base", path=str(folder)), run)
    assert message.startswith("base.path: ")
    assert f"{folder / part} has no *.safetensors file" in message


def test_a_base_that_is_no_folder(experiment: Experiment, run: RunDirectory, tmp_path: Path):
    message = refusal(changed(experiment, "base", path=str(tmp_path / "none")), run)
    assert message.startswith("base.path: ")
    assert str(tmp_path / "none") in message


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
        assert "not a folder" in message


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
    [("textual_inversion", {"num_steps": 7}), ("cluster", {"num_workers": 1}), ("sweep", {"num_seeds": 9})],
)
def test_a_changed_setting_is_accepted_and_written_down(
    experiment: Experiment, run: RunDirectory, stage: str, values: dict[str, Any]
):
    study.prepare(experiment, run)
    other = changed(experiment, stage, **values)
    assert study.prepare(other, run).experiment == other
    assert from_json(run.read_bytes("config.json").decode()) == other


@pytest.mark.parametrize("word", ["sword lily", "zqxj", "flower-lily"])
def test_an_initializer_of_several_tokens(experiment: Experiment, run: RunDirectory, word: str):
    message = refusal(changed(experiment, "textual_inversion", initializer_token=word), run)
    assert message.startswith("textual_inversion.initializer_token: ")
    assert repr(word) in message
    assert "choose a word that is one token" in message


def test_an_initializer_that_no_row_starts_from_is_not_looked_at(experiment: Experiment, run: RunDirectory):
    study.prepare(changed(experiment, "textual_inversion", initializer_token="sword lily", start="nearest"), run)
    assert run.exists("config.json")


def test_a_rank_that_no_layer_of_the_base_has_is_refused_where_adapters_are_asked_for(
    experiment: Experiment, run: RunDirectory
):
    too_large = changed(experiment, "lora", rank=4096)
    asked = changed(too_large, "sampling", sources=("token", "lora"))
    assert refusal(asked, run).startswith("lora.rank: 4096 is more than ")
    study.prepare(changed(too_large, "sampling", sources=("token",)), run)
    assert run.exists("config.json")


@pytest.mark.parametrize("stage", ["classifier", "scoring"])
def test_a_network_that_is_not_known_or_has_no_weights(experiment: Experiment, run: RunDirectory, stage: str):
    field, as_given = {"classifier": ("backbone", str), "scoring": ("extractors", lambda name: (name,))}[stage]
    message = refusal(changed(experiment, stage, **{field: as_given("resnet9000")}), run)
    assert "'resnet9000'" in message
    assert f"{stage}.{field}" in message
    message = refusal(changed(experiment, stage, weights=as_given("weights/none.pth")), run)
    assert "weights/none.pth" in message
    assert f"{stage}.weights" in message


def test_an_alternative_name_for_an_unknown_class(experiment: Experiment, run: RunDirectory, tmp_path: Path):
    file = tmp_path / "names.json"
    file.write_text('{"tulip": "tulipa"}')
    message = refusal(changed(experiment, "sampling", alternative_names_file=str(file)), run)
    assert message.startswith("sampling.alternative_names_file: ")
    assert "tulip" in message


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
