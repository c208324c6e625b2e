"""Data that the preflight refuses: missing folders and images, and selections that the images cannot serve."""

import shutil
from pathlib import Path

import pytest
from refusals import add_held_out, changed, refusal

from flowerti import study
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import (
    Experiment,
)
from flowerti.data.dataset import SPLITS


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


def test_a_fixed_selection_that_its_images_cannot_serve(experiment: Experiment, run: RunDirectory, images: Path):
    add_held_out(images, "azalea", "validation")
    add_held_out(images, "azalea", "test")
    fixed = changed(experiment, "selection", rule="fixed", class_names=("azalea",))
    greedy = changed(fixed, "sweep", ratios=(1.0, 40.0), mixing=("added",))
    message = refusal(changed(greedy, "sampling", num_per_class=79), run)
    assert message.startswith("sampling.num_per_class: 79 images are too few for ratio 40 of class 'azalea'")
    assert "at least 80" in message
    study.prepare(changed(greedy, "sampling", num_per_class=80), run)
    # at fixed mass no arm adds images by a ratio
    study.prepare(changed(changed(greedy, "sweep", mixing=("fixed",)), "sampling", num_per_class=79), run)


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


def test_an_alternative_name_for_an_unknown_class(experiment: Experiment, run: RunDirectory, tmp_path: Path):
    file = tmp_path / "names.json"
    file.write_text('{"tulip": "tulipa"}')
    message = refusal(changed(experiment, "sampling", alternative_names_file=str(file)), run)
    assert message.startswith("sampling.alternative_names_file: ")
    assert "tulip" in message
