"""The preflight's look at the images: the cut of alike images, what is kept of it, and what the base has seen."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from noise_folder import config_of
from PIL import Image

from flowerti.artifacts.pending import PendingArtifacts
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.training_images import TrainingImages
from flowerti.config.data import ImbalanceConfig
from flowerti.data import image_pass
from flowerti.data.access import list_records
from flowerti.data.inspection import Inspected, Inspection


def inspected(folder: Path, run: RunDirectory, known: TrainingImages | None = None, **data: object) -> Inspected:
    config, artifacts = config_of(folder, **data), PendingArtifacts(run)
    cut = ImbalanceConfig(resplit=True, validation_share=0.3, test_share=0.3)
    found = Inspection(data=config, imbalance=cut, seed=0, known=known, artifacts=artifacts).of(list_records(config, 0))
    artifacts.save()
    return found


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(str(tmp_path / "run"))


def test_alike_images_end_on_one_side_and_the_second_look_opens_none(
    folder: Path, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
):
    for split in ("train", "validation", "test"):
        shutil.copy(folder / "train/azalea/0.png", folder / split / "Zinnia" / "copy.png")
    found = inspected(folder, run)
    copies = {r.split for r in found.dataset.records if "copy" in r.id or r.id == "train/azalea/0.png"}
    assert len(copies) == 1
    assert found.census.duplicates == []
    assert run.names("") == ["alike.json", "data.json", "image_hashes.json", "splits.json"]
    monkeypatch.setattr(image_pass, "decode_rgb", lambda *_: pytest.fail("an image was opened again"))
    assert inspected(folder, run) == found


def test_what_was_alike_is_looked_for_again_where_the_images_or_their_size_changed(folder: Path, run: RunDirectory):
    inspected(folder, run)
    before = run.read_bytes("alike.json")
    inspected(folder, run, image_size_px=12)
    assert run.read_bytes("alike.json") != before
    shutil.copy(folder / "train/azalea/0.png", folder / "test/azalea/copy.png")
    inspected(folder, run)
    assert b"copy.png" in run.read_bytes("alike.json")


def test_unreadable_images_are_cut_and_left_out(folder: Path, run: RunDirectory):
    (folder / "train/azalea/0.png").write_bytes(b"no image")
    found = inspected(folder, run, skip_unreadable=True)
    assert found.census.unreadable == ["train/azalea/0.png"]
    assert len(found.dataset.records) == len(list_records(config_of(folder), 0).records) - 1


def test_what_the_base_has_seen_is_counted_in_the_cut_and_drawn_bases_open_nothing(folder: Path, run: RunDirectory):
    assert inspected(folder, run).seen is None
    with Image.open(folder / "test/azalea/0.png") as image:
        digest = hashlib.sha256(np.asarray(image).tobytes()).hexdigest()
    listed = TrainingImages(fingerprint="f", image_size_px=12, sha256=frozenset([digest]))
    found = inspected(folder, run, listed)
    (split,) = (record.split for record in found.dataset.records if record.id == "test/azalea/0.png")
    (row,) = found.seen.counts
    assert {"train": row.num_train, "validation": row.num_validation, "test": row.num_test}[split] == 1
    assert row.num_train + row.num_validation + row.num_test == 1
    assert "seen.json" in run.names("")
    drawn = TrainingImages(fingerprint="d", image_size_px=12, sha256=frozenset(), drawn="from other seeds")
    found = inspected(folder, run, drawn)
    assert (found.seen.drawn, found.seen.counts) == ("from other seeds", [])
