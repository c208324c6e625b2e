import numpy as np
import pytest
import torch

from flowerti.config.experiment import SamplingConfig
from flowerti.diffusion import Base
from flowerti.generation.denoise import Conditioning
from flowerti.generation.text_to_image import draw_images
from flowerti.personalization.encoding import encode_empty_prompt, encode_prompts

CONFIG = SamplingConfig(num_per_class=4, num_inference_steps=5, guidance_scale=3.0, batch_size=4)


@torch.no_grad()
def conditioning(base: Base, prompt: str) -> Conditioning:
    return Conditioning(states=encode_prompts(base, [prompt]), empty_states=encode_empty_prompt(base))


def test_an_image_does_not_depend_on_its_batch(base):
    given = conditioning(base, "a red lily")
    together = draw_images(base, given, [11, 12, 13, 14], CONFIG)
    alone = np.concatenate([draw_images(base, given, [seed], CONFIG) for seed in (11, 12, 13, 14)])
    # float32 kernels round differently at another batch size: one step of 255 at most
    assert np.abs(together.astype(int) - alone.astype(int)).max() <= 1
    assert np.abs(together[0].astype(int) - together[1].astype(int)).max() > 1


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_images_are_those_of_diffusers_to_the_pixel(layout, scale):
    config = SamplingConfig(num_per_class=2, num_inference_steps=5, guidance_scale=scale)
    ours = draw_images(layout.base, conditioning(layout.base, "a red lily"), [11, 12], config)
    noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (11, 12)]
    drawn = layout.pipeline("")(
        prompt=["a red lily"] * 2,
        latents=torch.stack(noise),
        num_inference_steps=5,
        guidance_scale=scale,
        output_type="np",
    ).images
    np.testing.assert_array_equal(ours, (drawn * 255).round().astype(np.uint8))
