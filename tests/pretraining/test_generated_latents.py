"""Latents that a base draws for its decoder: the pipeline's own, each from its place alone."""

import numpy as np
import torch

from pretraining.generated_latents import generate_latents


def test_drawn_latents_are_those_of_the_pipeline_before_scaling(base, examples):
    places = np.arange(4)
    drawn = generate_latents(base, examples.captions, 4, places)
    assert drawn.shape == (4, 4, 4, 4)
    assert not torch.allclose(generate_latents(base, examples.captions, 5, places), drawn)
    before = base.vae.config["scaling_factor"]
    base.vae.register_to_config(scaling_factor=2.0 * before)
    torch.testing.assert_close(2.0 * generate_latents(base, examples.captions, 4, places), drawn)
    base.vae.register_to_config(scaling_factor=before)


def test_a_drawn_latent_depends_on_its_place_alone(base, examples):
    drawn = generate_latents(base, examples.captions, 4, np.arange(7))
    others = generate_latents(base, examples.captions, 4, np.array([5, 0, 3]))
    torch.testing.assert_close(others, drawn[[5, 0, 3]], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(drawn[0], drawn[3])
