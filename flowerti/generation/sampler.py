"""Generates synthetic images in shards: words, images of the data set, learnt parameters and a seed -> image.

An image's seed is a hash of run seed, class, source, learning and index, and a shard is always one batch, so the images
do not depend on the number of workers. `Sampler` is the plain class that a Ray Data worker runs: it receives rows that
describe shards, writes each shard as Parquet (PNG bytes with their provenance) and returns the names of the files. It
does not know about Ray, which sources there are, nor how the images will be used.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.base_files import UnusableBaseError, resolve_folder, verify_base
from flowerti.config.experiment import BaseConfig, SamplingConfig
from flowerti.config.techniques import techniques_for
from flowerti.data.access import read_images
from flowerti.data.shards import has_shard, write_shard
from flowerti.diffusion import Base, NotFiniteError, load_base
from flowerti.generation.denoise import Conditioning
from flowerti.generation.image_to_image import draw_from_images, round_trips
from flowerti.generation.pixels import encode_png
from flowerti.generation.prompting import encode_each, prompts_of
from flowerti.generation.shard_plan import ShardTask
from flowerti.generation.text_to_image import draw_images
from flowerti.personalization.encoding import encode_empty_prompt, encode_prompts
from flowerti.personalization.first_use import LoadedBase
from flowerti.personalization.store import applied
from flowerti.personalization.technique import implementation_of
from flowerti.tables.sources import SOURCES, Source

Images = UInt8[np.ndarray, "num height width 3"]


class Sampler:
    """Generates and writes shards with one loaded base."""

    def __init__(
        self, base: BaseConfig, config: SamplingConfig, run: RunDirectory, num_threads: int, device: str
    ) -> None:
        """Load the base once; `device` is "cpu" or "cuda"."""
        torch.set_num_threads(num_threads)
        self._config, self._run = config, run
        # hooks that change from class to class would be compiled in
        can_compile = all(implementation_of(used).can_compile for used in techniques_for(config.sources))
        self._loaded = LoadedBase(
            lambda: load_base(
                resolve_folder(base) or verify_base(base), base.dtype, device, compile_unet=base.compile and can_compile
            )
        )

    @property
    def _base(self) -> Base:
        return self._loaded.base

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ray Data's interface: maps tasks, as JSON in the column `task`, to the names of their shards.

        The column `error` says why a shard was not written, `is_final` whether none can be; else they are empty.
        """
        tasks = [ShardTask.from_json(task) for task in batch["task"]]
        errors = [self._attempt(task) for task in tasks]
        return {
            "file": np.array([task.file for task in tasks]),
            "error": np.array([str(error or "") for error in errors]),
            "is_final": np.array([isinstance(error, UnusableBaseError) for error in errors]),
        }

    def _attempt(self, task: ShardTask) -> NotFiniteError | UnusableBaseError | None:
        """Write a shard; returns what is an answer for the driver rather than a failure of the worker."""
        try:
            self.write(task)
        except (NotFiniteError, UnusableBaseError) as error:
            return error
        return None

    def write(self, task: ShardTask) -> str:
        """Generate and write one shard unless one with the same key exists; returns its name in the run directory.

        Raises:
            NotFiniteError: latents or images are not finite; nothing is written.
            UnusableBaseError: the base could not be loaded, or is not finite.
            ValueError: the source's technique has not finished for the class, or an image cannot be read.
        """
        if not has_shard(self._run, task.file, task.key):
            source = SOURCES[task.source]
            prompts = prompts_of(source, task.words, self._config, task.run_seed, task.indices)
            images = self._draw(task, source, prompts)
            rows = [self._row(task, source, i, prompts[i], image) for i, image in enumerate(images)]
            write_shard(self._run, task.file, rows, task.key)
        return task.file

    @torch.no_grad()
    def _draw(self, task: ShardTask, source: Source, prompts: list[str]) -> Images:
        if not source.has_steps:
            return round_trips(self._base, self._read_starts(task))
        with applied(self._base, self._run, task.class_name, source.technique, task.learning) as base:
            conditioning = self._condition(base, task, source, prompts)
            if not source.starts_from_images:
                return draw_images(base, conditioning, task.seeds(), self._config)
            noising = list(zip([start.strength for start in task.starts], task.seeds(), strict=True))
            return draw_from_images(base, self._read_starts(task), conditioning, noising, self._config)

    def _condition(self, base: Base, task: ShardTask, source: Source, prompts: list[str]) -> Conditioning:
        row_seeds = task.seeds("rows") if source.has_noisy_token else []
        # not once for all shards: a technique may change the text encoders
        empty_states = encode_empty_prompt(base)
        if task.negative:
            empty_states = encode_prompts(base, [self._config.prompt.format(task.negative)])
        states = encode_each(base, prompts, row_seeds, self._config.token_noise)
        return Conditioning(states=states, empty_states=empty_states)

    def _read_starts(self, task: ShardTask) -> Images:
        size_px = self._base.unet.config.sample_size * self._base.pixels_per_latent
        return read_images([start.image.address for start in task.starts], size_px)

    def _row(
        self, task: ShardTask, source: Source, i: int, prompt: str, image: UInt8[np.ndarray, "height width 3"]
    ) -> dict[str, Any]:
        index, config = task.begin + i, self._config
        row = {
            "image": {"bytes": encode_png(image), "path": f"{index:06d}.png"},
            "class_name": task.class_name,
            "source": task.source,
            "learning": task.learning,
            "prompt": prompt,
            "index": index,
            "seed": task.seeds()[i],
            "mode": source.mode,
        }
        if source.has_steps:
            row["negative_prompt"] = config.prompt.format(task.negative) if task.negative else ""
            row["guidance_scale"] = config.guidance_scale
        if source.starts_from_images:
            start = task.starts[i]
            row |= {"source_image": start.image.id, "source_class": start.image.class_name, "strength": start.strength}
        if source.mode == "inter_class":
            row["label_share"] = task.starts[i].strength ** config.label_exponent
        return row
