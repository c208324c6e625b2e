"""The autoencoder of the base against closed forms and diffusers, at a tiny size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_pretraining import CONFIG, SILENT, SIZES

from pretraining import autoencoder
from pretraining.autoencoder import autoencoder_loss, encode_moments, reconstruction_psnr, to_unit, train_autoencoder
from pretraining.recipe import AutoencoderConfig, PretrainConfig, SteppingConfig


def test_unit_range():
    image = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    assert torch.allclose(to_unit(image).flatten(), torch.tensor([-1.0, -0.6, 1.0]))


def test_the_autoencoder_learns_and_is_scaled(vae, examples):
    untrained = train_autoencoder(PretrainConfig(vae=AutoencoderConfig(steps=0), sizes=SIZES), examples.images, SILENT)
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


def test_the_weight_of_the_divergence_counts(vae, examples):
    images, noise = to_unit(torch.from_numpy(examples.images[:2])), torch.zeros(2, 4, 4, 4)
    with torch.no_grad():
        light, heavy = (autoencoder_loss(vae, images, noise, weight).item() for weight in (0.0, 1e-2))
        posterior = vae.encode(images).latent_dist
    # KL(N(m, s) || N(0, 1)) = (m^2 + s^2 - 1 - log s^2) / 2, summed over the latent
    per_number = 0.5 * (posterior.mean**2 + posterior.std**2 - 1 - 2 * posterior.std.log())
    assert heavy - light == pytest.approx(1e-2 * per_number.sum(dim=(1, 2, 3)).mean().item(), rel=1e-3)


def test_averaged_weights_are_kept_where_there_is_a_decay(examples, monkeypatch):
    seen = []
    take_step = autoencoder.descend

    def watched(loss, optimizer, weights, part):
        take_step(loss, optimizer, weights, part)
        seen.append(weights[0].detach().clone())

    monkeypatch.setattr(autoencoder, "descend", watched)
    config = replace(CONFIG, vae=replace(CONFIG.vae, steps=3))
    last = train_autoencoder(config, examples.images, SILENT)
    assert torch.equal(next(last.parameters()), seen[-1])
    seen.clear()
    averaged = train_autoencoder(replace(config, vae=replace(config.vae, decay=0.15)), examples.images, SILENT)
    # decays 1/10, 0.15, 0.15: the first average is 1/10 of the initial weights, of which little is left
    after = 0.1 * autoencoder_at_start(config) + 0.9 * seen[0]
    for weight in seen[1:]:
        after = 0.15 * after + 0.85 * weight
    torch.testing.assert_close(next(averaged.parameters()).detach(), after)


def autoencoder_at_start(config: PretrainConfig) -> torch.Tensor:
    return next(
        train_autoencoder(
            replace(config, vae=replace(config.vae, steps=0)), np.zeros((1, 32, 32, 3), np.uint8), SILENT
        ).parameters()
    ).detach()


def test_bfloat16_learns_the_same_with_weights_in_float32(vae, examples):
    half = train_autoencoder(replace(CONFIG, stepping=SteppingConfig(bfloat16=True)), examples.images, SILENT)
    assert {weight.dtype for weight in half.parameters()} == {torch.float32}
    assert not torch.equal(half.encoder.conv_in.weight, vae.encoder.conv_in.weight)
    found = reconstruction_psnr(half, examples.images)
    assert found == pytest.approx(reconstruction_psnr(vae, examples.images), abs=1.0)
