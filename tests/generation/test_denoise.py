"""The loop against diffusers' own: to the bit at the full guidance range, and where it cuts guidance off."""

import dataclasses

import pytest
import torch
from diffusers.callbacks import SDCFGCutoffCallback, SDXLCFGCutoffCallback

from flowerti.config.experiment import SamplingConfig
from flowerti.generation.denoise import Conditioning, denoise, is_guided
from flowerti.personalization.encoding import TextStates, encode_empty_prompt, encode_prompts

CONFIG = SamplingConfig(num_per_class=4, num_inference_steps=5, guidance_scale=3.0, batch_size=4)


def noise(*seeds: int) -> torch.Tensor:
    return torch.stack([torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@torch.no_grad()
def conditioning(base, *prompts: str) -> Conditioning:
    return Conditioning(states=encode_prompts(base, list(prompts)), empty_states=encode_empty_prompt(base))


def latents_of(pipeline, given: Conditioning, latents: torch.Tensor, **more) -> torch.Tensor:
    """By diffusers' loop, from the same text states: encoding is compared where it is tested."""
    num = len(latents)
    states = {
        "prompt_embeds": given.states.hidden.expand(num, -1, -1),
        "negative_prompt_embeds": given.empty_states.hidden.expand(num, -1, -1),
    }
    if given.states.pooled is not None:
        states["pooled_prompt_embeds"] = given.states.pooled.expand(num, -1)
        states["negative_pooled_prompt_embeds"] = given.empty_states.pooled.expand(num, -1)
    return pipeline(**states, latents=latents, num_inference_steps=5, output_type="latent", **more).images


@pytest.mark.parametrize("scale", [1.0, 3.0, 7.5])
def test_latents_are_those_of_diffusers_to_the_bit(layout, scale):
    config = dataclasses.replace(CONFIG, guidance_scale=scale)
    given = conditioning(layout.base, "a red lily")
    ours = denoise(layout.base, noise(11, 12), given, config)
    theirs = latents_of(layout.pipeline(""), given, noise(11, 12), guidance_scale=scale)
    assert torch.equal(ours, theirs)


def test_each_image_may_have_a_prompt_of_its_own(layout):
    given = conditioning(layout.base, "a red lily", "a rose")
    ours = denoise(layout.base, noise(11, 12), given, CONFIG)
    theirs = latents_of(layout.pipeline(""), given, noise(11, 12), guidance_scale=3.0)
    assert torch.equal(ours, theirs)
    same = denoise(layout.base, noise(11, 12), conditioning(layout.base, "a red lily"), CONFIG)
    assert (same[0] - ours[0]).abs().max() < 1e-3  # text encoders round differently at another batch size
    assert (same[1] - ours[1]).abs().max() > 0.01


def test_guidance_ends_where_diffusers_cuts_it_off(layout):
    # diffusers' cut comes after the step with the number int(0.4 * 5), so that steps 0, 1, 2 are guided
    cut = (SDXLCFGCutoffCallback if layout.name == "sdxl" else SDCFGCutoffCallback)(cutoff_step_ratio=0.4)
    given = conditioning(layout.base, "a rose")
    theirs = latents_of(layout.pipeline(""), given, noise(3), guidance_scale=3.0, callback_on_step_end=cut)
    config = dataclasses.replace(CONFIG, guidance_interval=(0.0, 0.6))
    ours = denoise(layout.base, noise(3), given, config)
    assert torch.equal(ours, theirs)
    whole = denoise(layout.base, noise(3), given, CONFIG)
    assert (whole - ours).abs().max() > 0.01


def test_a_negative_prompt_is_that_of_diffusers(layout):
    given = conditioning(layout.base, "a rose")
    with torch.no_grad():
        given = dataclasses.replace(given, empty_states=encode_prompts(layout.base, ["azalea"]))
    ours = denoise(layout.base, noise(3), given, CONFIG)
    theirs = layout.pipeline("")(
        prompt=["a rose"],
        negative_prompt=["azalea"],
        latents=noise(3),
        num_inference_steps=5,
        guidance_scale=3.0,
        output_type="latent",
    ).images
    assert (ours - theirs).abs().max() < 1e-3
    plain = denoise(layout.base, noise(3), conditioning(layout.base, "a rose"), CONFIG)
    assert (plain - ours).abs().max() > 0.01


@pytest.mark.parametrize(
    ("interval", "guided"),
    [
        ((0.0, 1.0), range(10)),
        ((0.3, 0.6), [3, 4, 5]),
        ((0.0, 0.1), [0]),
        ((0.25, 1.0), range(3, 10)),
        ((0.7, 0.8), [7]),
    ],
)
def test_steps_in_the_interval_are_guided(interval, guided):
    config = SamplingConfig(num_inference_steps=10, guidance_scale=2.0, guidance_interval=interval)
    assert [step for step in range(10) if is_guided(step, config)] == list(guided)
    assert not any(is_guided(step, dataclasses.replace(config, guidance_scale=1.0)) for step in range(10))


def test_a_step_without_guidance_is_half_the_work(base, monkeypatch):
    sizes = []
    original = type(base.unet).forward

    def counted(self, sample, *args, **kwargs):
        sizes.append(len(sample))
        return original(self, sample, *args, **kwargs)

    monkeypatch.setattr(type(base.unet), "forward", counted)
    config = dataclasses.replace(CONFIG, guidance_interval=(0.2, 0.6))
    denoise(base, noise(1, 2, 3), conditioning(base, "a rose"), config)
    assert sizes == [3, 6, 6, 3, 3]


def test_states_of_a_wrong_number_of_rows_are_an_error(base):
    with pytest.raises(RuntimeError):
        denoise(base, noise(1, 2, 3), conditioning(base, "a rose", "a lily"), CONFIG)


def test_a_batch_may_begin_further_down_the_ladder(base):
    given = conditioning(base, "a rose")
    states = TextStates(hidden=given.states.hidden, pooled=None)
    late = denoise(base, noise(1), dataclasses.replace(given, states=states), CONFIG, first_step=3)
    early = denoise(base, noise(1), given, CONFIG)
    assert (late - early).abs().max() > 0.1
