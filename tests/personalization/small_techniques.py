"""Short trainings of the techniques that build on a frozen token, on tiny bases."""

import dataclasses
from typing import Any

import numpy as np
import torch

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import (
    CrossAttentionConfig,
    DreamboothConfig,
    LoraConfig,
    PriorConfig,
    ScheduleConfig,
    TextLoraConfig,
)
from flowerti.config.techniques import TECHNIQUES
from flowerti.diffusion import Base
from flowerti.personalization.denoising import EncodedImages
from flowerti.personalization.technique import Implementation, implementation_of
from flowerti.personalization.train_state import state_from
from flowerti.personalization.trainer import ClassTraining, Procedure, learn_together

TOKEN, CLASS_NAME, RUN_SEED = "<rose>", "rose", 3
_SCHEDULE: dict[str, Any] = {
    "num_steps": 10, "batch_size": 4, "eval_every_steps": 5, "num_eval_latents": 8, "checkpoint_every_steps": 2,
}  # fmt: skip
SMALL: dict[str, ScheduleConfig] = {
    "lora": LoraConfig(rank=2, learning_rate=2e-2, **_SCHEDULE),
    "cross_attention": CrossAttentionConfig(learning_rate=2e-2, **_SCHEDULE),
    "dreambooth": DreamboothConfig(learning_rate=2e-3, prior=PriorConfig(), **_SCHEDULE),
    "text_lora": TextLoraConfig(rank=2, learning_rate=5e-2, **_SCHEDULE),
}
"""Without a prior; rates that suit networks of random weights."""
FAMILIES: list[dict[str, Any]] = [{}, {"prediction_type": "v_prediction"}, {"is_xl": True}]
"""Arguments of `make_tiny_base` for Stable Diffusion 1.x, 2.x and SDXL."""


def with_prior(config: Any, **settings: Any) -> Any:
    prior = PriorConfig(noun="flower", num_images=4, num_inference_steps=3, **settings)
    return dataclasses.replace(config, prior=prior)


def with_token(base: Base) -> Base:
    rows = 0.1 * torch.randn(2, sum(base.row_widths), generator=torch.Generator().manual_seed(4))
    return dataclasses.replace(base, token=TOKEN, token_rows=rows.to(base.dtype))


def in_double(base: Base) -> Base:
    networks = {"text_encoder": base.text_encoder, "unet": base.unet, "vae": base.vae}
    if base.text_encoder_2 is not None:
        networks["text_encoder_2"] = base.text_encoder_2
    return dataclasses.replace(base, **{name: network.double() for name, network in networks.items()})


def code_of(name: str) -> Implementation[Any]:
    return implementation_of(TECHNIQUES[name])


def train(base: Base, data: EncodedImages, config: ScheduleConfig) -> ClassTraining:
    """As a worker does it, without its files."""
    code, seeds = code_of(config.section), TECHNIQUES[config.section].seeds
    start = code.start(base, data, config, CLASS_NAME, seed_for(RUN_SEED, CLASS_NAME, f"{seeds}/start", 0))
    procedure = Procedure(base=base, config=config, losses=code.losses(base, [data]), seed_name=seeds)
    state = state_from(start.to(base.dtype))
    training = ClassTraining(class_name=CLASS_NAME, run_seed=RUN_SEED, data=data, state=state)
    (ended,) = learn_together(procedure, [training], lambda _: None)
    assert not ended.error
    return ended


def pipeline_of(folder: Any, is_xl: bool = False) -> Any:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    pipeline = (StableDiffusionXLPipeline if is_xl else StableDiffusionPipeline).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn_by(pipeline: Any) -> np.ndarray:
    noise = torch.Generator().manual_seed(0)
    return pipeline("a red lily", num_inference_steps=3, generator=noise, output_type="np").images[0]
