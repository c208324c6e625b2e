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


def test_classes_that_cannot_be_held_out_are_named(allowed):
    with pytest.raises(ValueError, match="held_out_classes: unknown class 'azaleas': did you mean azalea"):
        list_allowed(replace(allowed, held_out_classes=("azaleas",)))
    with pytest.raises(ValueError, match="held_out_classes: all classes are held out"):
        list_allowed(replace(allowed, held_out_classes=("rose", "red rose", "azalea")))


def test_the_default_is_the_herbarium_with_rare_species_unseen():
    assert AllowedImages().data == DataConfig(kind="herbarium")
