"""The command that makes the base, at a tiny size, in a process and a Ray of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TINY = (
    "--config.num-pictures 24 --config.vae-steps 3 --config.steps 3 --config.batch 4 "
    "--config.sizes.vae-widths 16 16 16 16 --config.sizes.latent-channels 4 --config.sizes.unet-widths 16 16 16 "
    "--config.sizes.text-width 16 --config.sizes.text-layers 1 --config.sizes.sample-px 32 --num-workers 2"
).split()


@pytest.mark.ray
@pytest.mark.slow
def test_the_command_draws_trains_and_saves(tmp_path):
    from diffusers import StableDiffusionPipeline

    output, work = tmp_path / "base", tmp_path / "work"
    command = [sys.executable, "ray_jobs/pretrain.py", "--output-dir", str(output), "--work-dir", str(work), *TINY]
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=900)

    from flowerti.demo.networks import NetworkSizes
    from flowerti.demo.pretraining import PretrainConfig, draw_examples

    drawn = draw_examples(PretrainConfig(sizes=NetworkSizes(sample_px=32)), 0, 24)
    assert np.array_equal(np.load(work / "pictures" / "pictures.npy"), drawn.pictures)
    pipeline = StableDiffusionPipeline.from_pretrained(output)
    assert pipeline.unet.config["block_out_channels"] == (16, 16, 16) or pipeline.unet.config["block_out_channels"] == [
        16,
        16,
        16,
    ]
