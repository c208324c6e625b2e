"""The two arms of the race to the script's final loss: each takes all its steps and looks at the yardstick on the way.

This module does not know where images come from, or what a step costs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.inversion_race import Race
from benchmarks.inversion_steps import procedure_of, start
from flowerti.artifacts.identity import seed_for
from flowerti.artifacts.records import LossPoint
from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import Draw, EncodedImages, evaluate
from flowerti.personalization.textual_inversion.losses import denoising_losses
from flowerti.personalization.trainer import ClassTraining, Trainer, take_step

_EVAL_LATENTS = 128
_EVAL_BATCH_SIZE = 64
EVAL_SEED = 20260101


@dataclass(kw_only=True, slots=True)
class Arm:
    """What an arm leaves: a curve and rows for each seed."""

    curves: list[list[LossPoint]]
    rows: list[Tensor]


def engine_config(options: Race, learning_rate: float, num_steps: int) -> TextualInversionConfig:
    """The engine's settings at a rate."""
    return TextualInversionConfig(
        num_vectors=options.num_vectors,
        num_steps=num_steps,
        batch_size=options.batch_size,
        learning_rate=learning_rate,
    )


def _yardstick(base: Base, rows: Tensor, watched: EncodedImages) -> float:
    config = TextualInversionConfig(num_eval_latents=_EVAL_LATENTS, batch_size=_EVAL_BATCH_SIZE)
    return evaluate(base, rows.detach(), watched, config, EVAL_SEED, denoising_losses)


def script_arm(
    base: Base, data: EncodedImages, watched: EncodedImages, name: str, learning_rate: float, options: Race
) -> Arm:
    """The script's path for each seed: constant rate, weight decay, every timestep drawn on its own."""
    config = TextualInversionConfig(num_vectors=options.num_vectors)
    seeds = range(options.num_seeds)
    rows = [start(base, data, config).learnt.requires_grad_() for _ in seeds]
    # element by element, so that one optimiser of all rows is one for each
    optimizer = torch.optim.AdamW(rows, lr=learning_rate, weight_decay=1e-2)
    generators = [torch.Generator().manual_seed(seed_for(seed, name, "benchmark/script", 0)) for seed in seeds]
    curves = [[LossPoint(step=0, loss=_yardstick(base, one, watched))] for one in rows]
    for step in range(1, options.num_steps + 1):
        chosen = [_draw_as_the_script_does(base, data, options.batch_size, generator) for generator in generators]
        losses = denoising_losses(base, rows, [data] * len(rows), chosen)
        for one, gradient in zip(rows, torch.autograd.grad(torch.stack(losses).sum(), rows), strict=True):
            one.grad = gradient
        optimizer.step()
        if step % options.eval_every_steps == 0:
            for curve, one in zip(curves, rows, strict=True):
                curve.append(LossPoint(step=step, loss=_yardstick(base, one, watched)))
    return Arm(curves=curves, rows=[one.detach() for one in rows])


def _draw_as_the_script_does(base: Base, data: EncodedImages, batch_size: int, generator: torch.Generator) -> Draw:
    shape = (batch_size, *data.mean.shape[1:])

    def choose(num: int) -> Tensor:
        return torch.randint(num, (batch_size,), generator=generator)

    return Draw(
        views=choose(len(data.mean)),
        captions=choose(len(data.captions)),
        timesteps=choose(base.noise_scheduler.config.num_train_timesteps),
        posterior_noise=torch.randn(shape, generator=generator),
        noise=torch.randn(shape, generator=generator),
    )


def engine_arm(
    base: Base, data: EncodedImages, watched: EncodedImages, name: str, config: TextualInversionConfig, options: Race
) -> Arm:
    """The engine's path for each seed."""
    curves, trainers, procedure = [], [], procedure_of(base, config)
    for seed in range(options.num_seeds):
        state = start(base, data, config, name, seed)
        state.curve.append(LossPoint(step=0, loss=0.0))  # so that the trainer looks at the yardstick alone
        training = ClassTraining(class_name=name, run_seed=seed, data=data, state=state)
        trainers.append(Trainer(procedure, training))
        curves.append([LossPoint(step=0, loss=_yardstick(base, state.learnt, watched))])
    for step in range(1, config.num_steps + 1):
        take_step(procedure, trainers)
        if step % options.engine_look_every_steps == 0 or step == config.num_steps:
            for trainer, curve in zip(trainers, curves, strict=True):
                curve.append(LossPoint(step=step, loss=_yardstick(base, trainer.training.state.learnt, watched)))
    return Arm(curves=curves, rows=[trainer.training.state.learnt.detach() for trainer in trainers])
