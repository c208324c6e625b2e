"""Generates synthetic images in shards: words + learnt parameters + seed -> image.

An image's seed is a hash of run seed, class, source, learning and index, and a shard is always one batch, so the images
do not depend on the number of workers. `Sampler` is the plain class that a Ray Data worker runs: it receives rows that
describe shards, writes each shard as Parquet (PNG bytes with their provenance) and returns the names of the files. It
does not know about Ray, which sources there are, nor how the images will be used.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_fields, key_of, of_learning, seed_for
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.base_files import resolve_folder, verify_base
from flowerti.config.experiment import BaseConfig, SamplingConfig
from flowerti.data.shards import read_shard_key, write_shard
from flowerti.diffusion import load_base
from flowerti.generation.text_to_image import build_pipeline, draw_images, encode_png
from flowerti.personalization.encoding import encode_empty_prompt, encode_prompts
from flowerti.personalization.store import applied
from flowerti.tables.sources import SOURCES


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The images of one class, source and learning."""

    class_name: str
    source: str
    words: str
    """What fills the prompt: the class name, another name, or a token."""
    run_seed: int
    inputs: str
    """Key of the base and of the learnt parameters."""
    learning: int = 0
    """Which of the class's learnings they are drawn with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """One batch of images of a class, source and learning."""

    class_name: str
    source: str
    words: str
    """What fills the prompt."""
    begin: int
    end: int
    run_seed: int
    key: str
    learning: int = 0

    @property
    def file(self) -> str:
        """The shard's name in the run directory."""
        return layout.shard(self.class_name, self.source, self.begin, self.learning)

    @property
    def num_images(self) -> int:
        """Images in the shard."""
        return self.end - self.begin


def plan_shards(wanted: Wanted, config: SamplingConfig) -> list[ShardTask]:
    """Split the images of one class, source and learning into batches.

    The number of images is not part of a shard's key: a larger number adds shards and keeps the existing ones.
    """
    settings = [config.prompt, config.num_inference_steps, config.guidance_scale, config.batch_size]
    tasks = []
    for begin in range(0, config.num_per_class, config.batch_size):
        end = min(begin + config.batch_size, config.num_per_class)
        tasks.append(
            ShardTask(
                class_name=wanted.class_name,
                source=wanted.source,
                words=wanted.words,
                begin=begin,
                end=end,
                run_seed=wanted.run_seed,
                key=key_of(settings, key_fields(wanted), begin, end),
                learning=wanted.learning,
            )
        )
    return tasks


class Sampler:
    """Generates and writes shards with one loaded base."""

    def __init__(
        self, base: BaseConfig, config: SamplingConfig, run: RunDirectory, num_threads: int, device: str
    ) -> None:
        """Load the base once; `device` is "cpu" or "cuda"."""
        torch.set_num_threads(num_threads)
        self._config, self._run = config, run
        folder = resolve_folder(base) or verify_base(base)
        self._base = load_base(folder, base.dtype, device)
        self._pipeline = build_pipeline(self._base)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ray Data's interface: maps tasks, as JSON in the column `task`, to the names of the written shards."""
        return {"file": np.array([self.write(ShardTask(**json.loads(task))) for task in batch["task"]])}

    def write(self, task: ShardTask) -> str:
        """Generate and write one shard unless one with the same key exists; returns its name in the run directory.

        Raises:
            ValueError: the source's technique has not finished for the class.
        """
        if read_shard_key(self._run, task.file) != task.key:
            name = of_learning(f"sample/{task.source}", task.learning)
            seeds = [seed_for(task.run_seed, task.class_name, name, index) for index in range(task.begin, task.end)]
            write_shard(self._run, task.file, self._rows(task, seeds, self._draw(task, seeds)), task.key)
        return task.file

    @torch.no_grad()
    def _draw(self, task: ShardTask, seeds: list[int]) -> UInt8[np.ndarray, "num height width 3"]:
        technique = SOURCES[task.source].technique
        with applied(self._base, self._run, task.class_name, technique, task.learning) as base:
            states = encode_prompts(base, [self._config.prompt.format(task.words)])
            # not once for all: a technique may change the text encoders
            return draw_images(self._pipeline, states, encode_empty_prompt(base), seeds, self._config)

    def _rows(
        self, task: ShardTask, seeds: list[int], images: UInt8[np.ndarray, "num height width 3"]
    ) -> list[dict[str, Any]]:
        return [
            {
                "image": {"bytes": encode_png(image), "path": f"{index:06d}.png"},
                "class_name": task.class_name,
                "source": task.source,
                "learning": task.learning,
                "prompt": self._config.prompt.format(task.words),
                "index": index,
                "seed": seed,
            }
            for index, seed, image in zip(range(task.begin, task.end), seeds, images, strict=True)
        ]
