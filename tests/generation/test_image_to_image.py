"""Image-to-image against diffusers' own pipelines at the same generators, strength and steps."""

import numpy as np
import pytest
import torch
from PIL import Image

from flowerti.config.experiment import SamplingConfig
from flowerti.diffusion import Base, load_base
from flowerti.generation.denoise import Conditioning
from flowerti.generation.image_to_image import draw_from_images, num_steps_of, round_trips
from flowerti.personalization.encoding import encode_empty_prompt, encode_prompts

CONFIG = SamplingConfig(num_per_class=4, num_inference_steps=6, guidance_scale=3.0, batch_size=4)


@torch.no_grad()
def conditioning(base: Base, *prompts: str) -> Conditioning:
    return Conditioning(states=encode_prompts(base, list(prompts)), empty_states=encode_empty_prompt(base))


def drawn_by_diffusers(pipeline, prompts, starts: np.ndarray, seeds: list[int], **more) -> np.ndarray:
    images = pipeline(
        prompt=prompts,
        image=[Image.fromarray(start) for start in starts],
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        num_inference_steps=6,
        guidance_scale=3.0,
        output_type="np",
        **more,
    ).images
    return (images * 255).round().astype(int)


def furthest(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.75, 1.0])
def test_images_are_those_of_diffusers(layout, images, strength):
    starts = images[:3].numpy()
    noising = [(strength, seed) for seed in (21, 22, 23)]
    ours = draw_from_images(layout.base, starts, conditioning(layout.base, "a red lily"), noising, CONFIG)
    theirs = drawn_by_diffusers(layout.pipeline("Img2Img"), ["a red lily"] * 3, starts, [21, 22, 23], strength=strength)
    # pixels become [-1, 1], and the posterior is scaled, in another order of operations: rounding may differ by a level
    assert furthest(ours, theirs) <= 1
    assert (ours == theirs).mean() > 0.99


def test_images_of_an_autoencoder_without_a_spread_are_those_of_diffusers(make_tiny_base, images):
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionImg2ImgPipeline

    folder = make_tiny_base(text_gain=8.0, is_tiny_vae=True)
    base, starts = load_base(folder, "float32", "cpu"), images[:2].numpy()
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(folder)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    ours = draw_from_images(base, starts, conditioning(base, "a rose"), [(0.5, 1), (0.5, 2)], CONFIG)
    theirs = drawn_by_diffusers(pipeline, ["a rose"] * 2, starts, [1, 2], strength=0.5)
    assert furthest(ours, theirs) <= 1


def test_strengths_and_prompts_may_differ_within_a_batch(layout, images):
    starts, prompts = images[:4].numpy(), ["a rose", "a red lily", "azalea", "a rose"]
    noising = [(0.5, 1), (1.0, 2), (0.5, 3), (0.2, 4)]
    given = conditioning(layout.base, *prompts)
    together = draw_from_images(layout.base, starts, given, noising, CONFIG)
    for i, prompt in enumerate(prompts):
        one = conditioning(layout.base, prompt)
        alone = draw_from_images(layout.base, starts[i : i + 1], one, [noising[i]], CONFIG)
        assert furthest(together[i : i + 1], alone) <= 1


def test_the_more_noise_the_less_is_left_of_an_image(layout, images):
    starts = images.numpy()
    given = conditioning(layout.base, "a red lily")
    restored = round_trips(layout.base, starts)

    def distance(strength: float) -> float:
        noising = [(strength, seed) for seed in range(len(starts))]
        drawn = draw_from_images(layout.base, starts, given, noising, CONFIG)
        return float(np.abs(drawn.astype(float) - restored).mean())

    near, middle, far = (distance(strength) for strength in (0.17, 0.5, 1.0))
    assert 0 < near < middle < far


def test_a_round_trip_is_the_decoded_mean(layout, images):
    starts = images[[0, 1, 0, 2]]
    ours = round_trips(layout.base, starts.numpy())
    with torch.no_grad():
        posterior = layout.base.vae.encode(starts.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist
        decoded = layout.base.vae.decode(posterior.mean).sample
    expected = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    assert furthest(ours, expected) <= 1
    np.testing.assert_array_equal(ours[0], ours[2])
    np.testing.assert_array_equal(round_trips(layout.base, starts.numpy()), ours)


@pytest.mark.parametrize(
    ("strength", "num_steps", "expected"), [(0.25, 20, 5), (0.3, 10, 3), (0.99, 10, 9), (1.0, 7, 7), (0.05, 20, 1)]
)
def test_steps_are_rounded_down_as_diffusers_does(strength, num_steps, expected):
    assert num_steps_of(strength, num_steps) == expected


def test_a_strength_without_a_step_is_refused(base, images):
    with pytest.raises(ValueError, match=r"^strength 0.1 of 6 steps leaves none: raise one of them$"):
        draw_from_images(base, images[:1].numpy(), conditioning(base, "a rose"), [(0.1, 1)], CONFIG)
