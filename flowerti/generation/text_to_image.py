"""Text-to-image generation with a diffusers pipeline from encoded prompts: one image for each seed.

This module does not know about classes or sources, nor where images are stored.
"""

import io
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from flowerti.config.experiment import SamplingConfig
from flowerti.diffusion import Base
from flowerti.personalization.encoding import TextStates

_DECODE_BATCH_SIZE = 4


@torch.no_grad()
def draw_images(
    pipeline: Any,
    states: TextStates,
    empty_states: TextStates,
    seeds: list[int],
    config: SamplingConfig,
) -> UInt8[np.ndarray, "num height width 3"]:
    """Generate one image for each seed with a diffusers pipeline, in one batch.

    Args:
        pipeline: a StableDiffusionPipeline or StableDiffusionXLPipeline.
        states: the encoded prompt, [1, length, width].
        empty_states: the unconditional input of classifier-free guidance, likewise.
        seeds: seed of each image's initial noise.
        config: steps and guidance scale.
    """
    unet = pipeline.unet
    size = unet.config.sample_size
    shape = (unet.config.in_channels, size, size)
    # zT ~ N(0, 1) from one generator per image, on the CPU: independent of the device and of the rest of the batch
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    # each step: eps = eps(z, empty) + guidance_scale * (eps(z, prompt) - eps(z, empty)) (Ho and Salimans 2022,
    # arXiv 2207.12598, eq. 6, with guidance_scale = 1 + w)
    latents = pipeline(
        **_as_arguments(states, empty_states, len(seeds)),
        latents=torch.stack(noise).to(unet.device, unet.dtype),
        num_inference_steps=config.num_inference_steps,
        guidance_scale=config.guidance_scale,
        output_type="latent",
    ).images
    return _decode(pipeline.vae, latents)


def _as_arguments(states: TextStates, empty_states: TextStates, num: int) -> dict[str, Tensor]:
    # [1, length, width] -> [num, length, width], without a copy
    arguments = {
        "prompt_embeds": states.hidden.expand(num, -1, -1),
        "negative_prompt_embeds": empty_states.hidden.expand(num, -1, -1),
    }
    if states.pooled is not None and empty_states.pooled is not None:
        arguments["pooled_prompt_embeds"] = states.pooled.expand(num, -1)
        arguments["negative_pooled_prompt_embeds"] = empty_states.pooled.expand(num, -1)
    return arguments


def _decode(vae: Any, latents: Float[Tensor, "num channels h w"]) -> UInt8[np.ndarray, "num height width 3"]:
    # latents -> pixels, in float32 because Stable Diffusion's autoencoder overflows in half precision, and in small
    # batches because each image takes over 1 GiB
    parts = (latents.float() / vae.config.scaling_factor).split(_DECODE_BATCH_SIZE)
    decoded = torch.cat([vae.decode(part).sample for part in parts])
    # NCHW float in [-1, 1] -> NHWC uint8 in [0, 255]
    scaled = (decoded / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()


def build_pipeline(base: Base) -> Any:
    """Build a diffusers pipeline from the loaded parts, with DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095)."""
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    scheduler: Any = DPMSolverMultistepScheduler.from_config(base.scheduler_config, algorithm_type="dpmsolver++")
    parts: dict[str, Any] = {
        "vae": base.vae,
        "text_encoder": base.text_encoder,
        "tokenizer": base.tokenizer,
        "unet": base.unet,
        "scheduler": scheduler,
    }
    if base.text_encoder_2 is None:
        no_checker: dict[str, Any] = {
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }
        pipeline = StableDiffusionPipeline(**parts, **no_checker)
    else:
        pipeline = StableDiffusionXLPipeline(
            **parts,
            text_encoder_2=base.text_encoder_2,
            tokenizer_2=base.tokenizer_2,
            force_zeros_for_empty_prompt=base.zero_empty_prompt,
            add_watermarker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def encode_png(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Encode an image as PNG; the same bytes for the same pixels."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()
