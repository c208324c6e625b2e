"""A worker of Textual Inversion on a tiny base, its tasks, and what it stores."""

import dataclasses
from pathlib import Path

import torch

from flowerti.artifacts.layout import concept_folder
from flowerti.artifacts.records import Learned
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, TextualInversionConfig
from flowerti.personalization.store import load_learned
from flowerti.personalization.textual_inversion.embedding_files import read_rows
from flowerti.personalization.worker import LearningTask, Origin, Worker

TECHNIQUE = "textual_inversion"
CONFIG = TextualInversionConfig(
    num_vectors=3, num_steps=10, batch_size=4, num_eval_latents=8, eval_every_steps=5, checkpoint_every_steps=2
)
CLASS_NAME = "sword lily"


def worker_on(tiny_base: Path, run: RunDirectory) -> Worker:
    origin = Origin(base=BaseConfig(path=str(tiny_base)), base_sha256="b" * 64, run=run)
    return Worker(TECHNIQUE, CONFIG, origin, 1, "cpu")


def loaded(run: RunDirectory, class_name: str, key: str | None = None) -> Learned | None:
    return load_learned(run, class_name, TECHNIQUE, key)


def rows_of(run: RunDirectory, learned: Learned) -> torch.Tensor:
    folder = concept_folder(learned.class_name, learned.learning)
    return read_rows(run.read_bytes(f"{folder}/learned_embeds.safetensors"), learned.token)


def task_of(task: LearningTask, name: str, num_images: int) -> LearningTask:
    return dataclasses.replace(task, class_name=name, addresses=task.addresses[:num_images], key=name * 8)
