"""A base is tried before it is used, and what is wrong with it is raised there and not by a worker's constructor."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from damaged_base import TEXT, UNET, tensors, valued
from small_worker import CONFIG, TECHNIQUE, worker_on

from flowerti.base_files import UnusableBaseError
from flowerti.config.experiment import BaseConfig
from flowerti.diffusion import load_base
from flowerti.personalization.first_use import LoadedBase, problem_of_first_step
from flowerti.personalization.worker import Origin, Worker


def filled(name: str, key: str, value: float):
    return tensors(name, lambda content: content[key].fill_(value))


@pytest.mark.parametrize(
    "family", [{}, {"prediction_type": "v_prediction"}, {"prediction_type": "sample"}, {"is_xl": True}]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_whole_base_has_no_problem_and_random_numbers_stay_as_they_are(make_tiny_base, family, dtype):
    base, before = load_base(make_tiny_base(**family), dtype, "cpu"), torch.get_rng_state()
    assert problem_of_first_step(base) == ""
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("damage", "dtype", "expected"),
    [
        (filled(UNET, "conv_out.weight", 3e38), "float32", "the U-Net's output is not finite in float32"),
        (filled(UNET, "conv_out.weight", 6e4), "float16", "the U-Net's output is not finite in float16"),
        (
            filled(TEXT, "text_model.final_layer_norm.weight", 3e38),
            "float32",
            "the text encoder's output is not finite",
        ),
    ],
)
def test_networks_that_overflow_are_told(tiny_base, tmp_path, damage, dtype, expected):
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    damage(folder)
    base = load_base(folder, dtype, "cpu")
    assert problem_of_first_step(base).startswith(f"base.dtype: {expected}")


def test_a_base_is_tried_once(tiny_base, monkeypatch):
    base = load_base(tiny_base, "float32", "cpu")
    loaded = LoadedBase(lambda: base)
    assert loaded.base is base
    monkeypatch.setattr(base.unet, "forward", None)
    assert loaded.base is base


def test_a_worker_on_a_base_that_cannot_be_loaded_says_so_for_every_task(tiny_base, run, task, tmp_path):
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    valued(UNET, "conv_in.bias", float("nan"))(folder)
    worker = worker_on(folder, run)
    for _ in range(2):
        with pytest.raises(UnusableBaseError, match=rf"{UNET} holds conv_in\.bias, which is not finite"):
            worker.learn_together([task, dataclasses.replace(task, learning=1)])
    assert run.names("") == []


def test_a_worker_without_the_folder_says_so(run, task, tmp_path):
    origin = Origin(base=BaseConfig(path=str(tmp_path / "none")), base_sha256="b" * 64, run=run)
    with pytest.raises(UnusableBaseError, match="vae"):
        Worker(TECHNIQUE, CONFIG, origin, 1, "cpu").learn_together([task])
