"""Images drawn with what a technique stored are those of a diffusers pipeline that loaded its files."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import (
    BaseConfig,
    CrossAttentionConfig,
    DreamboothConfig,
    PriorConfig,
    SamplingConfig,
    ScheduleConfig,
    TextLoraConfig,
    TextualInversionConfig,
)
from flowerti.generation.sampler import Sampler
from flowerti.generation.shard_plan import Wanted, plan_shards
from flowerti.personalization.worker import LearningTask, Origin, Worker

CONFIG = SamplingConfig(num_per_class=2, num_inference_steps=5, guidance_scale=3.0, batch_size=2)
_SCHEDULE: dict[str, Any] = {"num_steps": 20, "batch_size": 4, "num_eval_latents": 4, "eval_every_steps": 2}
CONFIGS: list[ScheduleConfig] = [
    CrossAttentionConfig(learning_rate=0.05, **_SCHEDULE),
    DreamboothConfig(learning_rate=0.01, prior=PriorConfig(noun="flower", num_images=2), **_SCHEDULE),
    TextLoraConfig(rank=2, learning_rate=0.05, **_SCHEDULE),
]


def load_into(pipeline: Any, technique: str, folder: Path) -> None:
    """As docs/adapting.md says."""
    if technique == "text_lora":
        pipeline.load_lora_weights(folder, weight_name="text_lora.safetensors")
    else:
        pipeline.unet.load_state_dict(load_file(folder / f"{technique}.safetensors"), strict=False)


@pytest.mark.parametrize("config", CONFIGS, ids=[config.section for config in CONFIGS])
def test_diffusers_draws_the_same_images_from_the_stored_files(make_tiny_base, images, tmp_path, config):
    folder = make_tiny_base(text_gain=8.0)
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(tmp_path / f"{i}.png")
    run = RunDirectory(str(tmp_path / "run"))
    tokens = TextualInversionConfig(num_vectors=2, learning_rate=0.2, **_SCHEDULE)
    for settings in (tokens, config):
        origin = Origin(base=BaseConfig(path=str(folder)), base_sha256="b" * 64, run=run)
        task = LearningTask(
            technique=settings.section, class_name="rose", image_size_px=32, run_seed=5, key="k",
            addresses=tuple(str(tmp_path / f"{i}.png") for i in range(len(images))),
        )  # fmt: skip
        Worker(settings.section, settings, origin, 1, "cpu").learn(task)
    wanted = Wanted(class_name="rose", source=config.section, words="<rose>", run_seed=5, inputs="i")
    (shard,) = plan_shards(wanted, CONFIG)
    Sampler(BaseConfig(path=str(folder)), CONFIG, run, 1, "cpu").write(shard)
    rows = pq.read_table(run.path(shard.file)).to_pylist()
    ours = np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows]) / 255

    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    concept = tmp_path / "run" / "concepts" / "rose"
    pipeline.load_textual_inversion(concept / "learned_embeds.safetensors")

    def draw() -> np.ndarray:
        seeds = [seed_for(5, "rose", f"sample/{config.section}", index) for index in range(2)]
        noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return pipeline(
            prompt=['Photo of a "<rose>"'] * 2,
            latents=torch.stack(noise),
            num_inference_steps=5,
            guidance_scale=3.0,
            output_type="np",
        ).images

    without = draw()
    load_into(pipeline, config.section, concept)
    assert np.abs(ours - draw()).max() <= 1 / 255
    assert np.abs(ours - without).max() > 4 / 255
