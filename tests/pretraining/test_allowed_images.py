"""Which images a base may see: training images of classes that are not held out, as the runs cut them."""

from dataclasses import replace

import pytest

from flowerti.config.data import DataConfig, ImbalanceConfig
from flowerti.data.access import list_records
from flowerti.data.imbalance import imbalanced
from pretraining.allowed_images import AllowedImages, list_allowed


def test_only_training_images_of_other_classes_are_allowed(allowed):
    records = list_allowed(allowed).records
    assert sorted(record.id for record in records) == sorted(
        f"train/{name}/{i}.png" for name in ("red rose", "rose") for i in range(5)
    )


def test_the_cut_is_that_of_a_run_with_the_same_seed(allowed):
    cut = ImbalanceConfig(resplit=True)
    again = replace(allowed, imbalance=cut, split_seed=3, held_out_classes=())
    of_run = imbalanced(list_records(allowed.data, 3), cut, 3).of("train")
    assert list(list_allowed(again).records) == of_run
    assert {record.id.split("/")[0] for record in of_run} > {"train"}
    assert list_allowed(replace(again, split_seed=4)).records != tuple(of_run)


def test_a_re_split_keeps_alike_images_on_one_side_as_the_run_does(allowed, image_folder, tmp_path):
    from shutil import copytree

    from flowerti.artifacts.pending import PendingArtifacts
    from flowerti.artifacts.run_directory import RunDirectory
    from flowerti.data.inspection import Inspection

    root, cut = copytree(image_folder, tmp_path / "images"), ImbalanceConfig(resplit=True)
    for i in range(4):
        (root / "train/rose" / f"copy-{i}.png").write_bytes((root / "test/azalea/0.png").read_bytes())
    data = replace(allowed.data, root=str(root))
    again = replace(allowed, data=data, imbalance=cut, split_seed=3, held_out_classes=())
    artifacts = PendingArtifacts(RunDirectory(str(tmp_path / "run")))
    inspection = Inspection(data=data, imbalance=cut, seed=3, known=None, artifacts=artifacts)
    of_run = inspection.of(list_records(data, 3)).dataset
    assert list(list_allowed(again).records) == of_run.of("train")
    copies = {r.split for r in of_run.records if "copy" in r.id or r.id == "test/azalea/0.png"}
    assert len(copies) == 1


def test_other_splits_are_listed_where_they_are_asked_for(allowed):
    records = list_allowed(allowed, ("train", "test")).records
    assert {record.id.split("/")[0] for record in records} == {"train", "test"}
    assert not [record for record in records if "azalea" in record.id]


def test_classes_that_cannot_be_held_out_are_named(allowed):
    with pytest.raises(ValueError, match="held_out_classes: unknown class 'azaleas': did you mean azalea"):
        list_allowed(replace(allowed, held_out_classes=("azaleas",)))
    with pytest.raises(ValueError, match="held_out_classes: all classes are held out"):
        list_allowed(replace(allowed, held_out_classes=("rose", "red rose", "azalea")))


def test_the_default_is_the_herbarium_with_rare_species_unseen():
    assert AllowedImages().data == DataConfig(kind="herbarium")
