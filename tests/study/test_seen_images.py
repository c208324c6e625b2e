"""A base that was trained on images of the run: counted, refused where they would judge, and said where unknown."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import CLASSES, add_held_out, changed, refusal

from flowerti import study
from flowerti.artifacts.records import ClassCount, ClassifierReport, ClassScore
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.training_images import training_images_json
from flowerti.config.experiment import Experiment
from flowerti.data import image_pass
from flowerti.pipeline import choose
from flowerti.progress import Progress


def listed(folder: Path, files: list[Path]) -> str:
    """A list of training images at 10 px, the size of the files, written without the project's code for hashes."""
    digests = []
    for file in files:
        with Image.open(file) as image:
            digests.append(hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).hexdigest())
    (folder / "list.json").write_text(training_images_json(digests, 10))
    return str(folder / "list.json")


def with_list(experiment: Experiment, folder: Path, *files: Path) -> Experiment:
    return changed(experiment, "base", training_images=listed(folder, list(files)))


def report_of(f1: tuple[float, ...]) -> ClassifierReport:
    classes = [
        ClassScore(class_name=name, precision=0.0, recall=0.0, f1=value, support=4)
        for name, value in zip(CLASSES, f1, strict=True)
    ]
    return ClassifierReport(
        backbone="none", weights_sha256="", accuracy=0.0, macro_f1=0.0, curves=[], classes=classes, confusion=[]
    )


def test_without_a_list_it_is_unknown(experiment: Experiment, run: RunDirectory):
    assert study.prepare(experiment, run).seen is None


def test_seen_images_are_counted_by_class_and_split_whatever_holds_them(
    experiment: Experiment, run: RunDirectory, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with Image.open(images / "test/zinnia/0.png") as image:
        image.save(tmp_path / "other.bmp")
    wanted = with_list(experiment, tmp_path, images / "train/azalea/0.png", tmp_path / "other.bmp")
    seen = study.prepare(wanted, run).seen
    assert seen is not None
    assert seen.counts == [
        ClassCount(class_name="azalea", num_train=1, num_validation=0, num_test=0),
        ClassCount(class_name="zinnia", num_train=0, num_validation=0, num_test=1),
    ]
    assert seen.held_out_ids == ["test/zinnia/0.png"]
    monkeypatch.setattr(image_pass, "reader_of", lambda _: pytest.fail("an image was opened again"))
    assert study.prepare(wanted, run).seen == seen
    assert study.prepare(experiment, run).seen is None, "what is known of a base is no other base"


def test_fixed_classes_that_would_be_judged_by_seen_images_are_refused(
    experiment: Experiment, run: RunDirectory, images: Path, tmp_path: Path
):
    for split in ("validation", "test"):
        add_held_out(images, "azalea", split)
    fixed = changed(experiment, "selection", rule="fixed", class_names=("azalea",))
    wanted = with_list(fixed, tmp_path, images / "train/azalea/0.png", images / "test/azalea/1.png")
    message = refusal(wanted, run)
    assert message.startswith("selection.class_names: 'azalea' cannot be judged")
    assert "0 of its validation images and 1 of its test images" in message
    assert "base.allow_seen_held_out" in message
    allowed = changed(wanted, "base", allow_seen_held_out=True)
    assert study.prepare(allowed, run).seen is not None
    study.prepare(with_list(fixed, tmp_path, images / "train/azalea/0.png", images / "test/zinnia/1.png"), run)


def test_a_list_that_is_missing_is_named(experiment: Experiment, run: RunDirectory, tmp_path: Path):
    message = refusal(changed(experiment, "base", training_images=str(tmp_path / "none.json")), run)
    assert message.startswith(f"base.training_images: {tmp_path / 'none.json'} cannot be used")


def test_a_rule_passes_over_classes_that_the_base_has_seen(
    experiment: Experiment, run: RunDirectory, images: Path, tmp_path: Path
):
    for name in CLASSES:
        for split in ("validation", "test"):
            add_held_out(images, name, split)
    seen = [images / "test/zinnia/0.png", images / "validation/sword lily/1.png"]
    found = study.prepare(with_list(experiment, tmp_path, *seen), run)
    selection = choose(found, report_of((0.9, 0.8, 0.7)), Progress())
    assert [one.class_name for one in selection.selected] == ["azalea"]
    assert [one.class_name for one in selection.passed_over] == ["zinnia", "sword lily"]
    assert "1 of its test images" in selection.passed_over[0].reason
    allowed = changed(found.experiment, "base", allow_seen_held_out=True)
    selection = choose(study.prepare(allowed, run), report_of((0.9, 0.8, 0.7)), Progress())
    assert [one.class_name for one in selection.selected] == ["zinnia"]
    assert not selection.passed_over


def test_a_rule_that_is_left_with_no_class_is_refused(
    experiment: Experiment, run: RunDirectory, images: Path, tmp_path: Path
):
    found = study.prepare(with_list(experiment, tmp_path, *images.glob("test/*/0.png")), run)

    with pytest.raises(ValueError, match=r"^selection\.rule: 'blend' is left with no class.*allow_seen_held_out$"):
        choose(found, report_of((0.9, 0.8, 0.7)), Progress())
