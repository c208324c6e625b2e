"""The autoencoder of the base against closed forms and diffusers, at a tiny size."""

import numpy as np
import pytest
import torch
from tiny_pretraining import SILENT, SIZES

from pretraining.autoencoder import encode_moments, reconstruction_psnr, to_unit, train_autoencoder
from pretraining.recipe import PretrainConfig


def test_unit_range():
    image = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    assert torch.allclose(to_unit(image).flatten(), torch.tensor([-1.0, -0.6, 1.0]))


def test_the_autoencoder_learns_and_is_scaled(vae, examples):
    untrained = train_autoencoder(PretrainConfig(vae_steps=0, sizes=SIZES), examples.images, SILENT)
    assert reconstruction_psnr(vae, examples.images) > reconstruction_psnr(untrained, examples.images) + 2
    with torch.no_grad():
        images = to_unit(torch.from_numpy(examples.images))
        latents = vae.encode(images).latent_dist.mean * vae.config.scaling_factor
    assert latents.std().item() == pytest.approx(1.0, abs=0.02)


def test_psnr_of_a_known_error(vae, examples):
    class Shifted:
        def encode(self, x):
            class Posterior:
                mean = x

            return type("Encoded", (), {"latent_dist": Posterior})

        def decode(self, z):
            return type("Decoded", (), {"sample": (z * 0.5)})

    white = np.full((3, 8, 8, 3), 255, dtype=np.uint8)  # 1 becomes 0.5, a quarter of the range of 2
    assert reconstruction_psnr(Shifted(), white) == pytest.approx(20 * np.log10(4.0), abs=1e-4)


def test_moments_are_those_of_the_posterior(vae, examples):
    moments = encode_moments(vae, examples.images[:3])
    with torch.no_grad():
        posterior = vae.encode(to_unit(torch.from_numpy(examples.images[:3]))).latent_dist
    assert torch.allclose(moments[:, 0], posterior.mean, atol=1e-5)
    assert torch.allclose(moments[:, 1], posterior.std, atol=1e-5)
