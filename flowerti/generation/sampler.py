"""Draw synthetic images: concept, adapter or name + prompt + seed -> image, in shards cut by image index.

An image's seed is a hash of run seed, class, source and index, and a shard is one batch whatever the number of
workers, so that the same images come out anywhere. `Sampler` is the plain class that a Ray Data worker runs: it takes
rows that describe shards, writes each shard as Parquet (PNG bytes with their provenance) and returns what it wrote. It
does not know about Ray, nor what the images will be used for.
"""

import hashlib
import io
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from flowerti.artifacts.identity import key_of, seed_for, slug
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, SamplingConfig
from flowerti.data.shards import ShardFile, read_shard_key, write_shard
from flowerti.diffusion import Base, load_base, resolve_folder, verify_base
from flowerti.personalization.encoding import TextStates, encode_empty_prompt, encode_text, tokenise
from flowerti.personalization.lora.classes import load_parameters
from flowerti.personalization.lora.low_rank import adapted
from flowerti.personalization.worker import load_concept, load_rows

_DECODE_BATCH_SIZE = 4
_SOURCES_OF_A_TOKEN = ("token", "lora")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """One batch of images of a class and source."""

    class_name: str
    source: str
    name: str
    """What fills the prompt: the class name, another name, or the token, with or without an adapter."""
    begin: int
    end: int
    run_seed: int
    key: str

    @property
    def file(self) -> str:
        """The shard's name in the run directory."""
        return f"synthetic/{slug(self.class_name)}.{self.source}.{self.begin:06d}.parquet"


def plan_shards(
    class_name: str, source: str, name: str, config: SamplingConfig, run_seed: int, *inputs: str
) -> list[ShardTask]:
    """Cut the images of one class and source into batches; `inputs` are the keys of base, concept and adapter.

    The number of images does not enter a shard's key: asking for more adds shards and leaves the others alone.
    """
    settings = (config.prompt, config.num_inference_steps, config.guidance_scale, config.batch_size)
    tasks = []
    for begin in range(0, config.num_per_class, config.batch_size):
        end = min(begin + config.batch_size, config.num_per_class)
        key = key_of(list(settings), class_name, source, name, run_seed, begin, end, list(inputs))
        tasks.append(
            ShardTask(class_name=class_name, source=source, name=name, begin=begin, end=end, run_seed=run_seed, key=key)
        )
    return tasks


@torch.no_grad()
def draw_images(
    pipeline: Any,
    states: TextStates,
    empty_states: TextStates,
    seeds: list[int],
    config: SamplingConfig,
) -> UInt8[np.ndarray, "num height width 3"]:
    """Draw one image for each seed with a diffusers pipeline, in one batch.

    Args:
        pipeline: a StableDiffusionPipeline or StableDiffusionXLPipeline.
        states: the encoded prompt, one.
        empty_states: what guidance compares with, one.
        seeds: a seed for each image's initial noise.
        config: steps and guidance scale.
    """
    unet = pipeline.unet
    size = unet.config.sample_size
    shape = (unet.config.in_channels, size, size)
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    latents = pipeline(
        **_as_arguments(states, empty_states, len(seeds)),
        latents=torch.stack(noise).to(unet.device, unet.dtype),
        num_inference_steps=config.num_inference_steps,
        guidance_scale=config.guidance_scale,
        output_type="latent",
    ).images
    return _decode(pipeline.vae, latents)


def _as_arguments(states: TextStates, empty_states: TextStates, num: int) -> dict[str, Tensor]:
    arguments = {
        "prompt_embeds": states.hidden.expand(num, -1, -1),
        "negative_prompt_embeds": empty_states.hidden.expand(num, -1, -1),
    }
    if states.pooled is not None and empty_states.pooled is not None:
        arguments["pooled_prompt_embeds"] = states.pooled.expand(num, -1)
        arguments["negative_pooled_prompt_embeds"] = empty_states.pooled.expand(num, -1)
    return arguments


def _decode(vae: Any, latents: Float[Tensor, "num channels h w"]) -> UInt8[np.ndarray, "num height width 3"]:
    # float32: in half precision Stable Diffusion's autoencoder overflows; a few at a time: each takes over a GiB
    parts = (latents.float() / vae.config.scaling_factor).split(_DECODE_BATCH_SIZE)
    decoded = torch.cat([vae.decode(part).sample for part in parts])
    scaled = (decoded / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()


def build_pipeline(base: Base) -> Any:
    """A diffusers pipeline over the loaded parts, with DPM-Solver++ (Lu et al. 2022) on the base's own schedule."""
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    scheduler: Any = DPMSolverMultistepScheduler.from_config(base.scheduler_config, algorithm_type="dpmsolver++")
    parts: dict[str, Any] = {
        "vae": base.vae,
        "text_encoder": base.text_encoder,
        "tokenizer": base.tokenizer,
        "unet": base.unet,
        "scheduler": scheduler,
    }
    if base.text_encoder_2 is None:
        no_checker: dict[str, Any] = {
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }
        pipeline = StableDiffusionPipeline(**parts, **no_checker)
    else:
        pipeline = StableDiffusionXLPipeline(
            **parts,
            text_encoder_2=base.text_encoder_2,
            tokenizer_2=base.tokenizer_2,
            force_zeros_for_empty_prompt=base.zero_empty_prompt,
            add_watermarker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def encode_png(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Encode an image as PNG; the same bytes for the same pixels."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


class Sampler:
    """Draws and writes shards on one loaded base."""

    def __init__(
        self, base: BaseConfig, config: SamplingConfig, run: RunDirectory, num_threads: int, device: str
    ) -> None:
        """Load the base once; `device` is "cpu" or "cuda"."""
        torch.set_num_threads(num_threads)
        self._config, self._run = config, run
        folder = resolve_folder(base) or verify_base(base)
        self._base = load_base(folder, base.dtype, device)
        self._pipeline = build_pipeline(self._base)
        with torch.no_grad():
            self._empty_states = encode_empty_prompt(self._base)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ray Data's contract: tasks as JSON in the column `task` in, what was written out."""
        written = [self.write(ShardTask(**json.loads(task))) for task in batch["task"]]
        return {"file": np.array([w.name for w in written]), "sha256": np.array([w.sha256 for w in written])}

    def write(self, task: ShardTask) -> ShardFile:
        """Draw one shard and write it, unless a shard of the same key is there."""
        if read_shard_key(self._run, task.file) != task.key:
            seeds = [
                seed_for(task.run_seed, task.class_name, f"sample/{task.source}", index)
                for index in range(task.begin, task.end)
            ]
            with self._adapted(task):
                images = draw_images(self._pipeline, self._encode(task), self._empty_states, seeds, self._config)
            rows = [
                {
                    "image": {"bytes": encode_png(image), "path": f"{index:06d}.png"},
                    "class_name": task.class_name,
                    "source": task.source,
                    "prompt": self._config.prompt.format(task.name),
                    "index": index,
                    "seed": seed,
                }
                for index, seed, image in zip(range(task.begin, task.end), seeds, images, strict=True)
            ]
            write_shard(self._run, task.file, rows, task.key)
        content = self._run.read_bytes(task.file)
        return ShardFile(name=task.file, sha256=hashlib.sha256(content).hexdigest())

    def _adapted(self, task: ShardTask) -> AbstractContextManager[None]:
        if task.source != "lora":
            return nullcontext()
        return adapted(self._base.unet, load_parameters(self._run, task.class_name, self._base.unet))

    @torch.no_grad()
    def _encode(self, task: ShardTask) -> TextStates:
        prompt = self._config.prompt.format(task.name)
        if task.source not in _SOURCES_OF_A_TOKEN:
            return encode_text(self._base, tokenise(self._base, [prompt]))
        concept = load_concept(self._run, task.class_name)
        if concept is None:
            raise ValueError(
                f"class {task.class_name!r}: no finished concept in {self._run.uri}: run the inversion first"
            )
        ids = tokenise(self._base, [prompt], concept.token, concept.num_vectors)
        return encode_text(self._base, ids, load_rows(self._run, concept).to(self._base.device))
