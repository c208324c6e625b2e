"""Three ways to draw images of a name with the same networks: diffusers as people call it, as an expert does, and ours.

Each arm is a function of a name and seeds that returns uint8 images. This module does not know how arms are timed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from flowerti.config.experiment import SamplingConfig
from flowerti.diffusion import Base
from flowerti.generation.denoise import Conditioning
from flowerti.generation.text_to_image import draw_images
from flowerti.personalization.encoding import encode_empty_prompt, encode_prompts

Arm = Callable[[str, list[int]], np.ndarray]

USUAL_GUIDANCE = 7.5
"""What diffusers' documentation and its defaults have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Denoising steps of each arm."""

    usual: int = 50
    """diffusers' default."""
    expert: int = 20
    """What DPM-Solver++ needs."""


def arms_of(base: Base, ours: SamplingConfig, steps: Steps, usual_scheduler: str) -> dict[str, Arm]:
    """The arms by name.

    Args:
        base: the networks that all share.
        ours: steps and guidance of our arm.
        steps: of the others.
        usual_scheduler: the class of diffusers that the base's own files name.
    """
    return {
        "usual": _usual(base, steps.usual, usual_scheduler, ours.prompt),
        "expert": _expert(base, steps.expert, ours.prompt),
        "ours": _ours(base, ours),
    }


def _pipeline(base: Base, scheduler: str, **options: Any) -> Any:
    import diffusers

    no_checker: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = diffusers.StableDiffusionPipeline(
        vae=base.vae,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=base.unet,
        scheduler=getattr(diffusers, scheduler).from_config(base.scheduler_config, **options),
        **no_checker,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _levels(images: np.ndarray) -> np.ndarray:
    return (images * 255).round().astype(np.uint8)


def _usual(base: Base, num_steps: int, scheduler: str, prompt: str) -> Arm:
    # what Stable Diffusion 1.5's own file says of its scheduler
    options = {"skip_prk_steps": True, "steps_offset": 1} if scheduler == "PNDMScheduler" else {}
    pipeline = _pipeline(base, scheduler, **options)

    def draw(name: str, seeds: list[int]) -> np.ndarray:
        parts = [
            pipeline(
                prompt.format(name),
                num_inference_steps=num_steps,
                guidance_scale=USUAL_GUIDANCE,
                generator=torch.Generator().manual_seed(seed),
                output_type="np",
            ).images
            for seed in seeds
        ]
        return _levels(np.concatenate(parts))

    return draw


def _expert(base: Base, num_steps: int, prompt: str) -> Arm:
    pipeline = _pipeline(base, "DPMSolverMultistepScheduler", algorithm_type="dpmsolver++")

    def draw(name: str, seeds: list[int]) -> np.ndarray:
        images = pipeline(
            [prompt.format(name)] * len(seeds),
            num_inference_steps=num_steps,
            guidance_scale=USUAL_GUIDANCE,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
        ).images
        return _levels(images)

    return draw


def _ours(base: Base, config: SamplingConfig) -> Arm:
    def draw(name: str, seeds: list[int]) -> np.ndarray:
        with torch.no_grad():
            states = encode_prompts(base, [config.prompt.format(name)])
            conditioning = Conditioning(states=states, empty_states=encode_empty_prompt(base))
        return draw_images(base, conditioning, seeds, config)

    return draw
