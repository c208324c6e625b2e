"""The command that makes a base, at a tiny size, in a process and a Ray of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from pretraining.herbarium import draw_examples
from pretraining.networks import NetworkSizes
from pretraining.recipe import PretrainConfig
from pretraining.training_images import training_images_json

ROOT = Path(__file__).parents[2]
TINY = (
    "--config.vae.steps 3 --config.steps 3 --config.batch 4 "
    "--config.sizes.vae-widths 16 16 16 16 --config.sizes.latent-channels 4 --config.sizes.unet-widths 16 16 16 "
    "--config.sizes.text-width 16 --config.sizes.text-layers 1 --config.sizes.sample-px 32 --num-workers 2 "
    "--config.text.steps 3 --config.num-cycles 2 --config.sharpening.num-steps 6 --config.sharpening.num-generated 4 "
    "--config.sharpening.adversarial-from 2 --config.sharpening.generated-from 4"
).split()


HERBARIUM = "--config.num-images 24 --data.image-size-px 32".split()
UNET, VAE = "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the command; base and work folder lie in `folder`."""
    places = ["--output-dir", str(folder / "base"), "--work-dir", str(folder / "work")]
    command = [sys.executable, "ray_jobs/pretrain.py", *places, *TINY, *arguments]
    environment = {**os.environ, "HOME": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.ray
@pytest.mark.slow
def test_the_command_draws_trains_and_saves(tmp_path):
    done = run(tmp_path, *HERBARIUM)
    assert done.returncode == 0, done.stderr
    output, work = tmp_path / "base", tmp_path / "work"
    drawn = draw_examples(PretrainConfig(sizes=NetworkSizes(sample_px=32)), 0, 24)
    assert np.array_equal(np.load(work / "images" / "images.npy"), drawn.images)
    assert json.loads((output / "training_images.json").read_text()) == json.loads(training_images_json(drawn.images))
    pipeline = StableDiffusionPipeline.from_pretrained(output)
    assert list(pipeline.unet.config["block_out_channels"]) == [16, 16, 16]
    # each cycle learns, and the decoder alone changes after the last one
    first, second, end = (load_file(folder / UNET) for folder in (work / "denoised-1", work / "denoised-2", output))
    assert not torch.equal(first["conv_in.weight"], second["conv_in.weight"])
    assert all(torch.equal(weight.half(), end[name]) for name, weight in second.items())
    before, after = load_file(work / "denoised-2" / VAE), load_file(output / VAE)
    changed = {name.split(".")[0] for name, old in before.items() if not torch.equal(old.half(), after[name])}
    assert changed <= {"decoder", "post_quant_conv"}
    assert "decoder" in changed


@pytest.mark.ray
@pytest.mark.slow
def test_the_command_reads_labelled_images_and_refuses_wrong_classes(tmp_path, image_folder):
    data = ["--data.kind", "image_folder", "--data.root", str(image_folder), "--data.image-size-px", "32"]
    refused = run(tmp_path, *data, "--held-out-classes", "lily")
    assert refused.returncode == 2
    assert "held_out_classes: unknown class 'lily'" in refused.stderr
    done = run(tmp_path, *data, "--held-out-classes", "azalea")
    assert done.returncode == 0, done.stderr
    seen = json.loads((tmp_path / "base" / "training_images.json").read_text())["sha256"]
    assert len(seen) == 10
