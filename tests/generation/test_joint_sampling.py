"""Images drawn with a class's token and the adapter of all classes are those of diffusers with both files loaded."""

import io

import numpy as np
import pyarrow.parquet as pq
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

from flowerti.artifacts.identity import ALL_CLASSES, seed_for
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, SamplingConfig, SharedLoraConfig, TextualInversionConfig
from flowerti.generation.sampler import Sampler
from flowerti.generation.shard_plan import Wanted, plan_shards
from flowerti.personalization.worker import ClassImages, LearningTask, Origin, Worker

CONFIG = SamplingConfig(num_per_class=2, num_inference_steps=5, guidance_scale=3.0, batch_size=2)
TOKENS = {"rose": "<rose>", "sword lily": "<sword_lily>"}
FOLDERS = {"rose": "rose", "sword lily": "sword_lily"}


def _learn(folder, run, images, tmp_path) -> None:
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()).save(tmp_path / f"{i}.png")
    origin = Origin(base=BaseConfig(path=str(folder)), base_sha256="b" * 64, run=run)
    of_classes = [
        ClassImages(class_name=name, addresses=tuple(str(tmp_path / f"{i}.png") for i in numbers))
        for name, numbers in zip(TOKENS, [(0, 1), (2, 3, 4)], strict=True)
    ]
    schedule = {"num_steps": 20, "batch_size": 4, "num_eval_latents": 4, "eval_every_steps": 2}
    tokens = TextualInversionConfig(num_vectors=2, learning_rate=0.2, **schedule)
    shared = SharedLoraConfig(rank=2, learning_rate=0.05, **schedule)
    for one in of_classes:
        task = LearningTask(
            technique="textual_inversion", class_name=one.class_name, addresses=one.addresses, image_size_px=32,
            run_seed=5, key="k",
        )  # fmt: skip
        Worker("textual_inversion", tokens, origin, 1, "cpu").learn(task)
    task = LearningTask(
        technique="shared_lora", class_name=ALL_CLASSES, together=tuple(of_classes), image_size_px=32, run_seed=5,
        key="k",
    )  # fmt: skip
    Worker("shared_lora", shared, origin, 1, "cpu").learn(task)


def test_diffusers_draws_the_same_images_of_each_class(make_tiny_base, images, tmp_path):
    folder, run = make_tiny_base(text_gain=8.0), RunDirectory(str(tmp_path / "run"))
    _learn(folder, run, images, tmp_path)
    sampler, ours = Sampler(BaseConfig(path=str(folder)), CONFIG, run, 1, "cpu"), {}
    for name, token in TOKENS.items():
        (shard,) = plan_shards(
            Wanted(class_name=name, source="shared_lora", words=token, run_seed=5, inputs="i"), CONFIG
        )
        sampler.write(shard)
        rows = pq.read_table(run.path(shard.file)).to_pylist()
        ours[name] = np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows]) / 255

    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    for name in TOKENS:
        pipeline.load_textual_inversion(run.path(f"concepts/{FOLDERS[name]}/learned_embeds.safetensors"))

    def draw(name: str) -> np.ndarray:
        seeds = [seed_for(5, name, "sample/shared_lora", index) for index in range(2)]
        noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return pipeline(
            prompt=[f'Photo of a "{TOKENS[name]}"'] * 2,
            latents=torch.stack(noise),
            num_inference_steps=5,
            guidance_scale=3.0,
            output_type="np",
        ).images

    without = {name: draw(name) for name in TOKENS}
    pipeline.load_lora_weights(run.path("concepts/@all"))
    for name in TOKENS:
        assert np.abs(ours[name] - draw(name)).max() <= 1 / 255
        assert np.abs(ours[name] - without[name]).max() > 4 / 255
