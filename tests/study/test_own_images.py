"""Images as people have them, from the preflight to what a run prints: the cut is told, kept and found again."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import changed, refusal

import flowerti.pipeline
from flowerti import study
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import Experiment, SelectionConfig
from flowerti.data import inspection
from flowerti.progress import Event, Info


@pytest.fixture
def own(experiment: Experiment, tmp_path: Path) -> Experiment:
    """The experiment on folders of classes without splits, one of them with three images."""
    rng = np.random.default_rng(1)
    for class_name, num in (("azalea", 10), ("rose", 3), ("zinnia", 10)):
        folder = tmp_path / "own" / class_name
        folder.mkdir(parents=True)
        for index in range(num):
            Image.fromarray(rng.integers(0, 65536, (10, 10)).astype(np.uint16)).save(folder / f"{index}.tif")
    (tmp_path / "own" / "rose" / "list.txt").write_text("x")
    return changed(experiment, "data", root=str(tmp_path / "own"))


def test_splits_are_cut_once_and_found_again(own: Experiment, run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    first = study.prepare(own, run)
    assert [(c.num_train, c.num_validation, c.num_test) for c in first.census.counts] == [
        (6, 2, 2),
        (1, 1, 1),
        (6, 2, 2),
    ]
    assert json.loads(run.read_bytes("data.json"))["notes"] == first.census.notes
    monkeypatch.setattr(inspection, "take_census", lambda *_: pytest.fail("the census was taken again"))
    monkeypatch.setattr(inspection, "duplicate_groups", lambda *_: pytest.fail("alike images were looked for again"))
    assert study.prepare(own, run) == first
    splits = json.loads(run.read_bytes("splits.json"))
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [13, 5, 5]


def test_another_seed_is_another_cut_and_another_run(own: Experiment, run: RunDirectory, tmp_path: Path):
    from dataclasses import replace

    first = study.prepare(own, run)
    other = study.prepare(replace(own, seed=1), RunDirectory(str(tmp_path / "other")))
    assert other.census.fingerprint != first.census.fingerprint
    assert "another seed" in refusal(replace(own, seed=1), run)


def test_a_run_prints_what_it_found(own: Experiment, run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    heard: list[Event] = []
    monkeypatch.setattr(flowerti.pipeline, "_stages", lambda *_: iter(()))
    monkeypatch.setattr("flowerti.cluster.session.set_environment", lambda *_: None)
    flowerti.pipeline.run_experiment(own, run, [heard.append])
    told = [event.text for event in heard if isinstance(event, Info) and event.stage == "data"]
    assert told == [
        "23 images of 3 classes: 13 train, 5 validation, 5 test",
        "left out: 1 .txt file, no image (rose/list.txt)",
        "there is no validation and test split: 20% for validation and 25% for test are set aside out of each class's "
        "training images, by seed 0",
        "23 images in grey with 16 bits: scaled to 8 bits (azalea/0.tif, ...)",
    ]


def test_unreadable_images_are_told_too(own: Experiment, run: RunDirectory, tmp_path: Path):
    (tmp_path / "own" / "azalea" / "9.tif").write_bytes(b"no image")
    assert "azalea/9.tif cannot be read" in refusal(own, run)
    from flowerti.data.census import census_sentences

    found = study.prepare(changed(own, "data", skip_unreadable=True), run)
    assert census_sentences(found.census)[-1] == "left out: 1 image that cannot be read (azalea/9.tif)"


def test_a_re_split_takes_folders_of_classes_too(own: Experiment, run: RunDirectory):
    found = study.prepare(changed(own, "imbalance", resplit=True), run)
    assert [(c.num_train, c.num_validation, c.num_test) for c in found.census.counts][1] == (1, 1, 1)
    assert not [note for note in found.census.notes if "there is no" in note]


def test_a_class_too_small_to_cut_is_refused_before_an_image_is_opened(
    own: Experiment, run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "own" / "rose" / "0.tif").unlink()
    monkeypatch.setattr("flowerti.data.image_pass.decode_rgb", lambda *_: pytest.fail("an image was opened"))
    assert refusal(own, run).startswith("data: class 'rose' has 2 training images, too few to set validation and test")


def test_a_fixed_weak_class_must_have_enough_images_in_the_cut(own: Experiment, run: RunDirectory):
    from dataclasses import replace

    fixed = replace(own, selection=SelectionConfig(rule="fixed", class_names=("rose",)))
    assert "class 'rose' has 1 validation images: scoring needs at least 4" in refusal(fixed, run)


def test_a_run_directory_may_be_written_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDirectory("~/runs/mine").uri == f"{tmp_path}/runs/mine"
    assert RunDirectory("s3://bucket/~").uri == "s3://bucket/~"


def test_a_class_that_cannot_be_judged_is_passed_over(own: Experiment, run: RunDirectory):
    from flowerti.artifacts.records import ClassifierReport, ClassScore
    from flowerti.progress import Progress

    held = changed(own, "imbalance", validation_share=0.35, test_share=0.35)
    found = study.prepare(changed(held, "selection", num_classes=2), run)
    clause = "there are 1 validation and 1 test images, and scoring needs 4 of each"
    assert study.unscorable(found.dataset) == {"rose": clause}
    f1 = {"azalea": 0.8, "rose": 0.0, "zinnia": 0.9}
    scores = [ClassScore(class_name=name, precision=1.0, recall=1.0, f1=f1[name], support=4) for name in f1]
    heard: list[Event] = []
    report = ClassifierReport(
        backbone="x", weights_sha256="", accuracy=0.5, macro_f1=0.5, curves=[], classes=scores, confusion=[]
    )
    selection = flowerti.pipeline.choose(found, report, Progress("select", [heard.append]))
    assert [selected.class_name for selected in selection.selected] == ["azalea", "zinnia"]
    told = [event.text for event in heard if isinstance(event, Info)]
    assert told[1] == f"passed over, for they could not be judged: rose ({clause})"
