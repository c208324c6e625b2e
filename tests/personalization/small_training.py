"""Short trainings of a token on the tiny base, for the tests of the trainer."""

import dataclasses

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import EncodedImages, Losses
from flowerti.personalization.textual_inversion.losses import denoising_losses
from flowerti.personalization.textual_inversion.norms import norm_keeper
from flowerti.personalization.textual_inversion.starts import start_rows
from flowerti.personalization.train_state import TrainState, state_from
from flowerti.personalization.trainer import Checkpoint, ClassTraining, Procedure, learn_together

TOKEN = "<rose>"
CLASS_NAME = "rose"
RUN_SEED = 3
SMALL = TextualInversionConfig(
    num_steps=12, batch_size=4, num_eval_latents=8, eval_every_steps=3, checkpoint_every_steps=4, num_vectors=2
)


def copy_of(state: TrainState) -> TrainState:
    names = ("learnt", "first_moment", "second_moment", "best", "start")
    copies = {name: getattr(state, name).detach().clone() for name in names}
    return TrainState(step=state.step, curve=list(state.curve), seconds=state.seconds, **copies)


def ignore(_training: ClassTraining) -> None:
    pass


def start(
    base: Base, data: EncodedImages, config: TextualInversionConfig, class_name: str = "", run_seed: int = 0
) -> TrainState:
    seed = seed_for(run_seed, class_name, "inversion/start", 0)
    return state_from(start_rows(base, data, config, class_name, seed), keeps_start=True)


def procedure_of(base: Base, config: TextualInversionConfig, losses: Losses = denoising_losses) -> Procedure:
    keeper = norm_keeper(base, config)
    return Procedure(base=base, config=config, losses=losses, seed_name="inversion", after_step=keeper)


def learn(procedure: Procedure, training: ClassTraining, checkpoint: Checkpoint = ignore) -> TrainState:
    """One class alone, to its end.

    Raises:
        ValueError: it failed.
    """
    (ended,) = learn_together(procedure, [training], checkpoint)
    if ended.error:
        raise ValueError(ended.error)
    return ended.state


def learn_rose(
    base: Base,
    data: EncodedImages,
    config: TextualInversionConfig,
    state: TrainState | None = None,
    saved: list[TrainState] | None = None,
    losses: Losses = denoising_losses,
) -> TrainState:
    """`saved` gets a copy of every checkpoint."""
    training = ClassTraining(
        class_name=CLASS_NAME, run_seed=RUN_SEED, data=data, state=state or start(base, data, config)
    )
    kept = [] if saved is None else saved
    return learn(procedure_of(base, config, losses), training, lambda taught: kept.append(copy_of(taught.state)))


def in_double(base: Base) -> Base:
    return dataclasses.replace(
        base, text_encoder=base.text_encoder.double(), unet=base.unet.double(), vae=base.vae.double()
    )


def double_state(base: Base, data: EncodedImages, config: TextualInversionConfig) -> TrainState:
    return state_from(start(base, data, config).learnt.double(), keeps_start=True)


def training_of(base: Base, name: str, data: EncodedImages, config: TextualInversionConfig) -> ClassTraining:
    is_double = data.mean.element_size() == 8
    state = double_state(base, data, config) if is_double else start(base, data, config)
    return ClassTraining(class_name=name, run_seed=RUN_SEED, data=data, state=state)
