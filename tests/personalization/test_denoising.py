import dataclasses
import math

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from scipy import stats

from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base, load_base
from flowerti.personalization.denoising import EncodedImages, draw, evaluate, prepare
from flowerti.personalization.encoding import encode_images, tokenise
from flowerti.personalization.textual_inversion.losses import denoising_loss, denoising_losses
from flowerti.personalization.textual_inversion.starts import start_rows
from flowerti.prompts import TEMPLATES

TOKEN = "<rose>"
SMALL = TextualInversionConfig(batch_size=4, num_eval_latents=8, num_vectors=2)


@pytest.fixture(scope="module")
def data(base, images) -> EncodedImages:
    return prepare(base, images, TOKEN, 2)


def test_prepare_holds_plain_views_then_mirrored_ones(base, images, data):
    mean, std = encode_images(base, images)
    mirrored = torch.from_numpy(np.ascontiguousarray(images.numpy()[:, :, ::-1]))
    mirrored_mean, mirrored_std = encode_images(base, mirrored)
    torch.testing.assert_close(data.mean, torch.cat([mean, mirrored_mean]), rtol=0, atol=1e-6)
    torch.testing.assert_close(data.std, torch.cat([std, mirrored_std]), rtol=1e-5, atol=1e-6)
    assert (mean - mirrored_mean).abs().max() > 1e-4
    assert (data.captions >= base.vocabulary_size).sum().item() == 2 * len(TEMPLATES)


@pytest.mark.parametrize("view", [0, 7])
def test_sampling_the_moments_is_encoding_each_time(base, images, data, view):
    num_samples = 4000
    image = images[view] if view < 5 else images[view - 5].flip(1)
    prepared = image.permute(2, 0, 1)[None].float() / 127.5 - 1
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        posterior = base.vae.encode(prepared).latent_dist
        encoded = [posterior.sample(generator=generator)[0] for _ in range(num_samples)]
    encoded = torch.stack(encoded) * base.vae.config.scaling_factor
    noise = torch.randn(encoded.shape, generator=torch.Generator().manual_seed(1))
    ours = data.mean[view] + data.std[view] * noise
    deviation = encoded.std(dim=0)
    standard_errors = (ours.mean(dim=0) - encoded.mean(dim=0)).abs() / (deviation * math.sqrt(2 / num_samples))
    assert standard_errors.max() < 4.5
    assert (ours.std(dim=0) / deviation - 1).abs().max() < 4.5 / math.sqrt(num_samples)


@pytest.mark.parametrize(("batch_size", "num_timesteps"), [(10, 1000), (16, 1000), (7, 100), (1, 1000)])
def test_timesteps_hold_exactly_one_of_each_stratum(data, batch_size, num_timesteps):
    width = num_timesteps / batch_size
    lowest = np.floor(np.arange(batch_size) * width)
    highest = np.ceil((np.arange(batch_size) + 1) * width) - 1
    for seed in range(300):
        timesteps = np.sort(draw(data, batch_size, num_timesteps, seed).timesteps.numpy())
        assert (timesteps >= lowest).all()
        assert (timesteps <= highest).all()


def test_every_choice_is_uniform_at_every_place_of_the_batch(data):
    num_seeds = 2000
    draws = [draw(data, 4, 1000, seed) for seed in range(num_seeds)]
    for place in range(4):
        deciles = np.bincount([d.timesteps[place].item() // 100 for d in draws], minlength=10)
        views = np.bincount([d.views[place].item() for d in draws], minlength=len(data.mean))
        captions = np.bincount([d.captions[place].item() for d in draws], minlength=len(TEMPLATES))
        for counts, num_choices in ((deciles, 10), (views, len(data.mean)), (captions, len(TEMPLATES))):
            assert len(counts) == num_choices
            assert stats.chisquare(counts).pvalue > 1e-3
    values = torch.cat([torch.cat([d.noise, d.posterior_noise]).flatten() for d in draws[:20]])
    assert stats.kstest(values.numpy(), "norm").pvalue > 1e-3


def test_a_draw_follows_from_its_seed_alone(data):
    state = torch.get_rng_state()
    first, same, other = draw(data, 4, 1000, 5), draw(data, 4, 1000, 5), draw(data, 4, 1000, 6)
    for name in ("views", "captions", "timesteps", "posterior_noise", "noise"):
        assert torch.equal(getattr(first, name), getattr(same, name))
    assert first.prior is None
    assert not torch.equal(first.noise, other.noise)
    assert not torch.equal(first.noise, first.posterior_noise)
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluation_is_the_mean_loss_whatever_the_batch(base, data):
    rows = start_rows(base, data, SMALL, "rose", 3)
    whole = denoising_loss(base, rows, data, draw(data, 8, 1000, 11)).item()
    for batch_size in (8, 4, 3):
        config = dataclasses.replace(SMALL, batch_size=batch_size)
        assert evaluate(base, rows, data, config, 11, denoising_losses) == pytest.approx(whole, rel=1e-5)


def test_captions_of_the_training_set_are_the_templates(base, data):
    assert torch.equal(data.captions, tokenise(base, [t.format(TOKEN) for t in TEMPLATES], TOKEN, 2))


def in_double(base: Base) -> Base:
    networks = {"text_encoder": base.text_encoder, "unet": base.unet, "vae": base.vae}
    if base.text_encoder_2 is not None:
        networks["text_encoder_2"] = base.text_encoder_2
    return dataclasses.replace(base, **{name: network.double() for name, network in networks.items()})


@pytest.mark.parametrize("is_xl", [False, True])
def test_a_shared_batch_has_each_concept_s_own_loss_and_gradient(make_tiny_base, images, is_xl):
    base = in_double(load_base(make_tiny_base(text_gain=8.0, is_xl=is_xl), "float32", "cpu"))
    sets = [prepare(base, images[i : i + 3], token, 2) for i, token in enumerate(("<a>", "<b>", "<c>"))]
    chosen = [draw(data, 4, 1000, seed) for seed, data in enumerate(sets)]
    generator = torch.Generator().manual_seed(1)
    rows = [
        torch.randn(2, sum(base.row_widths), generator=generator, dtype=torch.float64).requires_grad_() for _ in sets
    ]
    together = denoising_losses(base, rows, sets, chosen)
    gradients = torch.autograd.grad(torch.stack(together).sum(), rows)
    for i, gradient in enumerate(gradients):
        alone = denoising_loss(base, rows[i], sets[i], chosen[i])
        (expected,) = torch.autograd.grad(alone, [rows[i]])
        assert abs(together[i].item() - alone.item()) < 1e-12
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
        assert expected.abs().min() > 1e-9
        for part in gradient.split(base.row_widths, dim=1):
            assert part.norm(dim=1).min() > 1e-5


def _noisy_by_hand(base: Base, data: EncodedImages, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chosen = draw(data, 4, 1000, seed)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    alpha_bar = (1 - betas).cumprod(0).double()[chosen.timesteps].reshape(-1, 1, 1, 1)
    latents = data.mean[chosen.views] + data.std[chosen.views] * chosen.posterior_noise
    return latents, alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_the_target_is_the_one_that_the_base_s_file_names(make_tiny_base, images, prediction_type):
    base = in_double(load_base(make_tiny_base(prediction_type=prediction_type, text_gain=8.0), "float32", "cpu"))
    data = prepare(base, images, TOKEN, 1)
    rows = torch.ones(1, 16, dtype=torch.float64)
    chosen = draw(data, 4, 1000, 9)
    latents, signal, spread = _noisy_by_hand(base, data, 9)
    targets = {
        "epsilon": chosen.noise,
        "v_prediction": signal * chosen.noise - spread * latents,
        "sample": latents,
    }
    ids = data.captions[chosen.captions]
    embedded = base.text_encoder.get_input_embeddings().weight
    table = torch.cat([embedded, rows])
    base.text_encoder.resize_token_embeddings(len(table), mean_resizing=False)
    base.text_encoder.get_input_embeddings().weight.data[:] = table
    with torch.no_grad():
        states = base.text_encoder(ids)[0]
        predicted = base.unet(signal * latents + spread * chosen.noise, chosen.timesteps, states).sample
        expected = (predicted - targets[prediction_type]).square().mean()
    ours = denoising_loss(load_double_again(make_tiny_base, prediction_type), rows, data, chosen)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-9)


def load_double_again(make_tiny_base, prediction_type: str) -> Base:
    return in_double(load_base(make_tiny_base(prediction_type=prediction_type, text_gain=8.0), "float32", "cpu"))


def test_an_unknown_prediction_type_is_refused(make_tiny_base, images):
    base = load_base(make_tiny_base(prediction_type="flow_prediction"), "float32", "cpu")
    data = prepare(base, images, TOKEN, 1)
    with pytest.raises(ValueError, match="prediction type 'flow_prediction' is not supported"):
        denoising_loss(base, torch.zeros(1, 16), data, draw(data, 2, 1000, 0))


def test_sdxl_s_prediction_is_conditioned_as_its_pipeline_does(make_tiny_base, images, monkeypatch):
    folder = make_tiny_base(text_gain=8.0, is_xl=True)
    base = load_base(folder, "float32", "cpu")
    data = prepare(base, images, TOKEN, 1)
    chosen = draw(data, 2, 1000, 4)
    seen = []

    def watched(unet):
        real = unet.forward

        def forward(sample, timestep, encoder_hidden_states, *args, added_cond_kwargs=None, **kwargs):
            seen.append((encoder_hidden_states, added_cond_kwargs))
            return real(sample, timestep, encoder_hidden_states, *args, added_cond_kwargs=added_cond_kwargs, **kwargs)

        monkeypatch.setattr(unet, "forward", forward)

    watched(base.unet)
    rows = start_rows(base, data, SMALL, "rose", 3)[:1]
    denoising_loss(base, rows, data, chosen)
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    watched(pipeline.unet)
    for caption in chosen.captions.tolist():
        prompt = TEMPLATES[caption].format("flower")
        pipeline(prompt, num_inference_steps=1, guidance_scale=1.0, output_type="latent")
    ours, theirs = seen[0], seen[1:]
    torch.testing.assert_close(ours[0], torch.cat([states for states, _ in theirs]), rtol=0, atol=1e-5)
    for name in ("text_embeds", "time_ids"):
        torch.testing.assert_close(ours[1][name], torch.cat([extra[name] for _, extra in theirs]), rtol=0, atol=1e-5)


def test_one_image_is_enough_and_none_is_refused(base, images):
    assert prepare(base, images[:1], TOKEN, 1).mean.shape == (2, 4, 8, 8)
    with pytest.raises(ValueError, match="'<rose>': there is no training image"):
        prepare(base, images[:0], TOKEN, 1)
