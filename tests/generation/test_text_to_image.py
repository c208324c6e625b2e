import io

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from PIL import Image

from flowerti.config.experiment import SamplingConfig
from flowerti.diffusion import load_base
from flowerti.generation.text_to_image import _decode, build_pipeline, draw_images, encode_png
from flowerti.personalization.encoding import encode_empty_prompt, encode_text, tokenise

CONFIG = SamplingConfig(num_per_class=4, num_inference_steps=5, guidance_scale=3.0, batch_size=4)


def test_an_image_does_not_depend_on_its_batch(base):
    pipeline = build_pipeline(base)
    states = encode_text(base, tokenise(base, ["a red lily"]))
    empty = encode_text(base, tokenise(base, [""]))
    together = draw_images(pipeline, states, empty, [11, 12, 13, 14], CONFIG)
    alone = np.concatenate([draw_images(pipeline, states, empty, [seed], CONFIG) for seed in (11, 12, 13, 14)])
    # float32 kernels round differently at another batch size: one step of 255 at most
    assert np.abs(together.astype(int) - alone.astype(int)).max() <= 1
    assert np.abs(together[0].astype(int) - together[1].astype(int)).max() > 1


def test_decoding_in_parts_is_decoding_at_once(base):
    latents = torch.randn(9, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ours = _decode(base.vae, latents)
        decoded = build_pipeline(base).vae.decode(latents / 0.18215).sample
    expected = (255 * (decoded.numpy() / 2 + 0.5).clip(0, 1)).round().transpose(0, 2, 3, 1)
    assert ours.shape == (9, 32, 32, 3)
    assert np.abs(ours - expected).max() <= 1


def test_sdxl_draws_the_images_of_its_own_pipeline(make_tiny_base):
    folder = make_tiny_base(is_xl=True, text_gain=8.0)
    base = load_base(folder, "float32", "cpu")
    with torch.no_grad():
        states = encode_text(base, tokenise(base, ["a red lily"]))
        ours = draw_images(build_pipeline(base), states, encode_empty_prompt(base), [11, 12], CONFIG)
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (11, 12)]
    drawn = pipeline(
        prompt=["a red lily"] * 2,
        latents=torch.stack(noise),
        num_inference_steps=5,
        guidance_scale=3.0,
        output_type="np",
    ).images
    assert np.abs(ours / 255 - drawn).max() <= 1 / 255


def test_png_is_lossless_and_steady():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    content = encode_png(image)
    assert encode_png(image) == content
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), image)
