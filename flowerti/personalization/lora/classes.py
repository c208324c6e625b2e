"""A class from its token and training images to a stored adapter: checkpoints, the weights file, and the record.

`AdapterLearner` is the plain class that the cluster wraps into an actor; its tasks are those of the inversion. The
record is written last: an adapter without it is unfinished. This module does not know about Ray or what is done with
an adapter.
"""

import hashlib
import time
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts.identity import key_of
from flowerti.artifacts.records import Adapter, LossPoint
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, LoraConfig
from flowerti.data.dataset import read_images
from flowerti.diffusion import load_base, resolve_folder, verify_base
from flowerti.personalization import checkpoints
from flowerti.personalization.denoising import prepare
from flowerti.personalization.lora.low_rank import adapter_bytes, read_adapter
from flowerti.personalization.lora.technique import adapter_lesson, adapter_losses, as_schedule
from flowerti.personalization.trainer import Lesson, Progress, learn_together
from flowerti.personalization.worker import InversionTask, concept_folder, load_concept, load_rows

_PACKAGES = ("torch", "diffusers", "transformers")


def adapter_key(config: LoraConfig, base: BaseConfig, *inputs: str) -> str:
    """Key of an adapter; `inputs` say base, token and images. How often checkpoints are written does not enter it."""
    settings = {
        name: getattr(config, name) for name in (f.name for f in fields(config)) if name != "checkpoint_every_steps"
    }
    return key_of(settings, base.dtype, list(inputs))


def weights_file(class_name: str) -> str:
    """Where a class's adapter lies in the run directory, under the name that diffusers looks for."""
    return f"{concept_folder(class_name)}/pytorch_lora_weights.safetensors"


def _record_file(class_name: str) -> str:
    return f"{concept_folder(class_name)}/adapter.json"


def load_adapter(run: RunDirectory, class_name: str, key: str | None = None) -> Adapter | None:
    """The finished adapter of a class; None where there is none of that key, or its weights were changed."""
    adapter = run.load(_record_file(class_name), Adapter, key)
    if adapter is None or adapter.error:
        return None
    weights = weights_file(class_name)
    if not run.exists(weights) or hashlib.sha256(run.read_bytes(weights)).hexdigest() != adapter.weights_sha256:
        return None
    return adapter


def store_failure(run: RunDirectory, task: InversionTask, reason: str) -> Adapter:
    """Write down that a class's adapter could not be learnt."""
    adapter = Adapter(class_name=task.class_name, error=reason)
    run.save(_record_file(task.class_name), adapter, task.key)
    return adapter


def last_checkpoint(run: RunDirectory, task: InversionTask) -> LossPoint | None:
    """Step of a class's last checkpoint and the evaluation loss known there; None where there is no checkpoint."""
    return checkpoints.last_point_in(run, _checkpoint_name(task), task.key)


def load_parameters(run: RunDirectory, class_name: str, unet: Any) -> Float[Tensor, "1 parameters"]:
    """The learnt matrices of a class's adapter.

    Raises:
        ValueError: there is no finished adapter, or it belongs to another base.
    """
    if load_adapter(run, class_name) is None:
        raise ValueError(f"class {class_name!r}: no finished adapter in {run.uri}: run the stage adapt first")
    return read_adapter(unet, run.read_bytes(weights_file(class_name)))


class AdapterLearner:
    """Learns classes' adapters on one loaded base, one after another."""

    def __init__(self, base: BaseConfig, config: LoraConfig, run: RunDirectory, num_threads: int, device: str) -> None:
        """Load the base once; `device` is "cpu" or "cuda"."""
        torch.set_num_threads(num_threads)
        self._config, self._run = config, run
        # not compiled: layers are changed from one class to the next
        self._base = load_base(
            resolve_folder(base) or verify_base(base), base.dtype, device, channels_last=base.channels_last
        )

    def learn_together(self, tasks: list[InversionTask]) -> list[Adapter]:
        """Learn classes one after another: each has a U-Net of its own, so that they cannot share a batch."""
        return [self.learn(task) for task in tasks]

    def learn(self, task: InversionTask) -> Adapter:
        """Learn a class's adapter, from its last checkpoint where there is one, and store it.

        A class that cannot be learnt comes back with its error and is not stored.
        """
        began = time.monotonic()
        try:
            lesson = self._learn(task)
        except (OSError, ValueError) as error:
            return Adapter(class_name=task.class_name, error=str(error))
        if lesson.error:
            return Adapter(class_name=task.class_name, error=lesson.error)
        return self._store(task, lesson.progress, time.monotonic() - began)

    def _learn(self, task: InversionTask) -> Lesson:
        concept = load_concept(self._run, task.class_name)
        if concept is None:
            raise ValueError(f"class {task.class_name!r}: no finished token in {self._run.uri}: learn it first")
        images = torch.from_numpy(read_images(list(task.addresses), task.image_size_px))
        data = prepare(self._base, images, concept.token, concept.num_vectors)
        lesson = adapter_lesson(self._base, data, self._config, task.class_name, task.run_seed)
        resumed = checkpoints.load_from(self._run, _checkpoint_name(task), task.key, str(self._base.device))
        lesson.progress = resumed or lesson.progress
        losses = adapter_losses(self._base, data, load_rows(self._run, concept).to(self._base.device))
        (ended,) = learn_together(
            self._base,
            [lesson],
            as_schedule(self._config),
            lambda taught: self._run.write_bytes(
                _checkpoint_name(task), checkpoints.to_bytes(taught.progress, task.key)
            ),
            losses,
        )
        return ended

    def _store(self, task: InversionTask, progress: Progress, seconds: float) -> Adapter:
        weights = adapter_bytes(self._base.unet, progress.best_rows)
        self._run.write_bytes(weights_file(task.class_name), weights)
        adapter = Adapter(
            class_name=task.class_name,
            rank=self._config.rank,
            num_parameters=progress.best_rows.numel(),
            weights_sha256=hashlib.sha256(weights).hexdigest(),
            num_images=len(task.addresses),
            num_steps=progress.step,
            best_step=progress.best.step,
            loss_curve=progress.curve,
            versions={name: version(name) for name in _PACKAGES},
            seconds=seconds,
        )
        self._run.save(_record_file(task.class_name), adapter, task.key)
        self._run.delete(_checkpoint_name(task))
        return adapter


def _checkpoint_name(task: InversionTask) -> str:
    return f"{concept_folder(task.class_name)}/checkpoints/adapter.safetensors"
