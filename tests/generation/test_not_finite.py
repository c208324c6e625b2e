"""What is not finite is an error of the class that it was made for, and never an image."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from damaged_base import UNET, VAE, tensors, valued

from flowerti.artifacts.records import Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, SamplingConfig
from flowerti.config.prior import PriorConfig
from flowerti.config.techniques import TECHNIQUES
from flowerti.diffusion import NotFiniteError, load_base
from flowerti.generation.image_to_image import round_trips
from flowerti.generation.pixels import decode
from flowerti.generation.sampler import Sampler
from flowerti.generation.shard_plan import ShardTask, Wanted, plan_shards
from flowerti.personalization.prior import Priors
from flowerti.personalization.store import save_learned
from flowerti.personalization.technique import implementation_of

CONFIG = SamplingConfig(num_per_class=2, batch_size=2, num_inference_steps=2, sources=("raw", "token"))


def task_of(class_name: str, source: str, words: str) -> ShardTask:
    (task,) = plan_shards(Wanted(class_name=class_name, source=source, words=words, run_seed=5, inputs="base"), CONFIG)
    return task


@pytest.fixture
def copied(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def answer(folder: Path, run: RunDirectory, *tasks: ShardTask) -> dict[str, list]:
    drawer = Sampler(BaseConfig(path=str(folder)), CONFIG, run, 1, "cpu")
    found = drawer({"task": np.array([task.to_json() for task in tasks])})
    return {name: column.tolist() for name, column in found.items()}


def test_a_class_whose_token_overflows_has_an_error_and_the_next_one_its_images(tiny_base, tmp_path):
    run = RunDirectory(str(tmp_path / "run"))
    code, base = implementation_of(TECHNIQUES["textual_inversion"]), load_base(tiny_base, "float32", "cpu")
    huge = code.export(base, torch.full((1, 16), 3e38), "rose")
    learned = Learned(class_name="rose", technique="textual_inversion", token="<rose>", num_vectors=1)
    save_learned(run, learned, huge, "k")
    broken, whole = task_of("rose", "token", "<rose>"), task_of("lily", "raw", "lily")
    found = answer(tiny_base, run, broken, whole)
    assert found["file"] == [broken.file, whole.file]
    assert found["error"] == ["latents are not finite: use base.dtype float32, or another base", ""]
    assert found["is_final"] == [False, False]
    assert run.names("synthetic") == [whole.file]


def test_a_base_that_overflows_draws_nothing(copied, tmp_path):
    tensors(UNET, lambda content: content["conv_out.weight"].fill_(3e38))(copied)
    run = RunDirectory(str(tmp_path / "run"))
    found = answer(copied, run, task_of("rose", "raw", "rose"), task_of("lily", "raw", "lily"))
    assert found["is_final"] == [True, True]
    assert all("the U-Net's output is not finite in float32" in error for error in found["error"])
    assert run.names("") == []


def test_a_base_with_a_damaged_weight_draws_nothing(copied, tmp_path):
    valued(VAE, "quant_conv.bias", float("nan"))(copied)
    run = RunDirectory(str(tmp_path / "run"))
    found = answer(copied, run, task_of("rose", "raw", "rose"))
    assert (found["is_final"], run.names("")) == ([True], [])
    assert f"{VAE} holds quant_conv.bias" in found["error"][0]


def test_latents_and_images_that_are_not_finite_are_no_pixels(base, copied):
    latents = torch.zeros(2, 4, 8, 8)
    latents[1, 0, 0, 0] = float("nan")
    with pytest.raises(NotFiniteError, match="latents are not finite"):
        decode(base, latents)
    tensors(VAE, lambda content: content["decoder.conv_out.weight"].fill_(3e38))(copied)
    with pytest.raises(NotFiniteError, match="images are not finite"):
        decode(load_base(copied, "float32", "cpu"), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)))


def test_images_that_an_autoencoder_cannot_encode_are_told(copied):
    tensors(VAE, lambda content: content["encoder.conv_out.weight"].fill_(3e38))(copied)
    base = load_base(copied, "float32", "cpu")
    with pytest.raises(NotFiniteError, match="latents of images are not finite"):
        round_trips(base, np.zeros((1, 32, 32, 3), dtype=np.uint8))


def test_a_prior_that_is_not_finite_is_told(copied):
    tensors(UNET, lambda content: content["conv_out.weight"].fill_(3e38))(copied)
    base = load_base(copied, "float32", "cpu")
    config = PriorConfig(noun="flower", num_images=2, num_inference_steps=2)
    with pytest.raises(NotFiniteError, match="latents of the prior 'flower' are not finite"):
        Priors(config=config).of(base, 3, 0, 32)
    assert Priors(config=dataclasses.replace(config, noun="")).of(base, 3, 0, 32) is None
