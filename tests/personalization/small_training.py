"""Short lessons on the tiny base, for the tests of the engine."""

import dataclasses
from collections.abc import Callable

import torch

from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import TrainingSet
from flowerti.personalization.trainer import Lesson, Progress, learn, progress_from, start

TOKEN = "<rose>"
CLASS_NAME = "rose"
RUN_SEED = 3
SMALL = TextualInversionConfig(
    num_steps=12, batch_size=4, num_eval_latents=8, eval_every_steps=3, checkpoint_every_steps=4, num_vectors=2
)


def copy_of(progress: Progress) -> Progress:
    names = ("rows", "first_moment", "second_moment", "best_rows", "start_norms")
    tensors = {name: getattr(progress, name) for name in names}
    copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    return Progress(step=progress.step, curve=list(progress.curve), seconds=progress.seconds, **copies)


def ignore(_taught: object) -> None:
    pass


def learn_rose(
    base: Base,
    data: TrainingSet,
    config: TextualInversionConfig,
    progress: Progress | None = None,
    checkpoint: Callable[[Progress], None] = ignore,
) -> Progress:
    return learn(base, data, config, CLASS_NAME, RUN_SEED, progress or start(base, data, config), checkpoint)


def in_double(base: Base) -> Base:
    return dataclasses.replace(
        base, text_encoder=base.text_encoder.double(), unet=base.unet.double(), vae=base.vae.double()
    )


def double_progress(base: Base, data: TrainingSet, config: TextualInversionConfig) -> Progress:
    return progress_from(base, start(base, data, config).rows.double())


def lesson_of(base: Base, name: str, data: TrainingSet, config: TextualInversionConfig) -> Lesson:
    is_double = data.mean.dtype == torch.float64
    progress = double_progress(base, data, config) if is_double else start(base, data, config)
    return Lesson(class_name=name, run_seed=RUN_SEED, data=data, progress=progress)
