"""What an adapter is learnt on: the denoising loss of a U-Net that carries it, with the class's token as it is.

The token is learnt first and stays (pivotal tuning: Roich et al. 2021, arXiv 2106.05744, section 3), so every caption's
text states are encoded once, and a step runs the U-Net alone. Steps, draws, evaluations and resuming are those of
`inversion.engine`, to which an adapter is one long row. This module does not know about files or Ray.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import LoraConfig, TextualInversionConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import Draw, Losses, TrainingSet, prediction_losses
from flowerti.personalization.encoding import TextStates, encode_text
from flowerti.personalization.lora.low_rank import adapted, start_adapter
from flowerti.personalization.trainer import Lesson, Progress

STAGE = "sampling.adapter"


def adapter_lesson(base: Base, data: TrainingSet, config: LoraConfig, class_name: str, run_seed: int) -> Lesson:
    """A class at its beginning: an adapter that changes nothing yet.

    Raises:
        ValueError: as `lora.start_adapter`.
    """
    seed = seed_for(run_seed, class_name, f"{STAGE}/start", 0)
    parameters = start_adapter(base.unet, config.rank, seed)
    progress = Progress(
        step=0,
        rows=parameters,
        first_moment=torch.zeros_like(parameters),
        second_moment=torch.zeros_like(parameters),
        best_rows=parameters.clone(),
        start_norms=parameters.new_zeros(1, 1),
    )
    return Lesson(class_name=class_name, run_seed=run_seed, data=data, progress=progress, stage=STAGE)


def as_schedule(config: LoraConfig) -> TextualInversionConfig:
    """The engine's settings for an adapter; those that are about rows of a token have no meaning there."""
    return TextualInversionConfig(
        num_steps=config.num_steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        eval_every_steps=config.eval_every_steps,
        num_eval_latents=config.num_eval_latents,
        checkpoint_every_steps=config.checkpoint_every_steps,
    )


def adapter_losses(base: Base, data: TrainingSet, token_rows: Float[Tensor, "vectors width"]) -> Losses:
    """The engine's loss of one class: its U-Net carries the adapter, its captions hold the learnt token."""
    with torch.no_grad():
        states = encode_text(base, data.captions, token_rows)

    def losses(
        base: Base, parameters: list[Tensor], data: list[TrainingSet], chosen: list[Draw]
    ) -> list[Float[Tensor, ""]]:
        (of_class,), (draw,) = parameters, chosen
        with adapted(base.unet, of_class):
            return prediction_losses(base, _states_of(states, draw), data, chosen)

    return losses


def _states_of(states: TextStates, draw: Draw) -> TextStates:
    pooled = None if states.pooled is None else states.pooled[draw.captions]
    return TextStates(hidden=states.hidden[draw.captions], pooled=pooled)
