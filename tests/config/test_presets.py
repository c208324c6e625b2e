"""Ready-made experiments: that they exist, resolve, and name classes, backbones and folders that exist."""

import dataclasses
import os
from pathlib import Path

import pytest

from flowerti.config.experiment import Experiment
from flowerti.config.presets import (
    PRESETS,
    STUDY_CLASSES,
    demo,
    flowers102,
    flowers102_64,
    flowers102_64_long_tail,
    preset,
)
from flowerti.data.access import list_records
from flowerti.data.imbalance import imbalanced, shot_group

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("name", list(PRESETS))
def test_each_preset_resolves_and_is_described(name: str):
    experiment = preset(name)
    assert isinstance(experiment, Experiment)
    assert experiment.name == name
    description = (PRESETS[name].__doc__ or "").splitlines()
    assert len(description) == 1
    assert len(description[0]) > 20


def test_the_promised_presets_are_there():
    assert set(PRESETS) >= {"demo", "flowers102", "flowers102_64"}


@pytest.mark.parametrize("name", ["", "Demo", "flowers", "../demo"])
def test_an_unknown_preset_is_refused_with_the_known_ones(name: str):
    with pytest.raises(ValueError, match="choose one of") as caught:
        preset(name)
    assert repr(name) in str(caught.value)
    assert all(known in str(caught.value) for known in PRESETS)


def test_the_studys_classes_are_classes_of_oxford_102():
    from torchvision.datasets import Flowers102

    assert set(STUDY_CLASSES) <= set(Flowers102.classes)
    assert flowers102_64().selection.class_names == STUDY_CLASSES


def test_the_full_study_uses_networks_that_torchvision_knows():
    from torchvision.models import list_models

    assert flowers102().classifier.backbone in list_models()
    assert flowers102().scoring.extractors == ("inception",)


def test_the_demo_needs_nothing_from_outside():
    experiment = demo()
    assert (experiment.data.kind, experiment.base.path) == ("herbarium", "demo")
    assert not experiment.data.download
    assert not experiment.classifier.weights
    assert not experiment.scoring.weights


def test_the_long_tail_ends_with_the_studys_classes_and_all_ratios_can_be_served(shared_root):
    experiment = flowers102_64_long_tail()
    data = dataclasses.replace(experiment.data, root=str(shared_root / "data" / "flowers102-64"))
    dataset = imbalanced(list_records(data, experiment.seed), experiment.imbalance, experiment.seed)
    sizes = {name: len(dataset.of("train", name)) for name in dataset.class_names}
    assert {shot_group(sizes[name]) for name in STUDY_CLASSES} == {"few"}
    assert max(sizes[name] for name in STUDY_CLASSES) <= min(sizes[name] for name in set(sizes) - set(STUDY_CLASSES))
    assert max(sizes.values()) > 100
    assert max(experiment.sweep.ratios) * max(sizes[n] for n in STUDY_CLASSES) <= experiment.sampling.num_per_class


@pytest.mark.usefixtures("shared_root")
def test_the_small_study_finds_its_folders_from_the_check_out():
    experiment = flowers102_64()
    for path in (experiment.data.root, experiment.base.path):
        assert Path(os.path.normpath(REPOSITORY / path)).is_dir(), path
