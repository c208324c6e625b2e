"""The command that makes the base, at a tiny size, in a process and a Ray of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TINY = (
    "--config.num-images 24 --config.vae-steps 3 --config.steps 3 --config.batch 4 "
    "--config.sizes.vae-widths 16 16 16 16 --config.sizes.latent-channels 4 --config.sizes.unet-widths 16 16 16 "
    "--config.sizes.text-width 16 --config.sizes.text-layers 1 --config.sizes.sample-px 32 --num-workers 2 "
    "--config.text-steps 3 --config.num-courses 2 --config.sharpening.num-steps 6 --config.sharpening.num-drawings 4 "
    "--config.sharpening.adversarial-from 2 --config.sharpening.drawings-from 4"
).split()


WEIGHTS_OF_VAE = "vae/diffusion_pytorch_model.safetensors"


def unet_bytes(folder: Path) -> bytes:
    return (folder / "unet/diffusion_pytorch_model.safetensors").read_bytes()


@pytest.mark.ray
@pytest.mark.slow
def test_the_command_draws_trains_and_saves(tmp_path):
    from diffusers import StableDiffusionPipeline

    output, work = tmp_path / "base", tmp_path / "work"
    command = [sys.executable, "ray_jobs/pretrain.py", "--output-dir", str(output), "--work-dir", str(work), *TINY]
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=900)

    from pretraining.examples import draw_examples
    from pretraining.networks import NetworkSizes
    from pretraining.recipe import PretrainConfig

    drawn = draw_examples(PretrainConfig(sizes=NetworkSizes(sample_px=32)), 0, 24)
    assert np.array_equal(np.load(work / "images" / "images.npy"), drawn.images)
    pipeline = StableDiffusionPipeline.from_pretrained(output)
    assert list(pipeline.unet.config["block_out_channels"]) == [16, 16, 16]
    # each course learns, and the decoder alone changes after the last one
    first, second, end = (unet_bytes(folder) for folder in (work / "denoised-1", work / "denoised-2", output))
    assert first != second == end
    assert (work / "denoised-2" / WEIGHTS_OF_VAE).read_bytes() != (output / WEIGHTS_OF_VAE).read_bytes()
