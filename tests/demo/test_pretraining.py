"""Making the base: its parts against closed forms and the libraries that load them, at tiny sizes."""

import re

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from flowerti.demo import pretraining
from flowerti.demo.descent import AveragedWeights
from flowerti.demo.networks import Base, NetworkSizes, build_tokenizer, byte_alphabet, save_base
from flowerti.demo.pretraining import (
    Batch,
    Examples,
    PretrainConfig,
    denoising_loss,
    draw_examples,
    draw_latents,
    draw_timesteps,
    encode_moments,
    join_examples,
    reconstruction_psnr,
    start_base,
    to_unit,
    tokenize,
    train_autoencoder,
    train_denoiser,
)
from flowerti.demo.species import RARE
from flowerti.demo.standing import load_standing, save_standing
from flowerti.shares import Part

SIZES = NetworkSizes(
    vae_widths=(16, 16, 16, 16),
    latent_channels=4,
    unet_widths=(16, 16, 16),
    text_width=16,
    text_layers=1,
    sample_px=32,
)
CONFIG = PretrainConfig(num_pictures=48, vae_steps=40, vae_rate=3e-3, steps=12, batch=4, sizes=SIZES)


def silent(metrics):
    """Takes a report and does nothing."""


@pytest.fixture(scope="module")
def examples():
    return draw_examples(CONFIG, 0, CONFIG.num_pictures)


@pytest.fixture(scope="module")
def vae(examples):
    return train_autoencoder(CONFIG, examples.pictures, silent)


@pytest.fixture
def base(vae, examples):
    return start_base(CONFIG, vae, examples.captions)


def test_examples_do_not_depend_on_blocks(examples):
    blocks = [draw_examples(CONFIG, 0, 5), draw_examples(CONFIG, 5, 12)]
    joined = join_examples(blocks)
    assert np.array_equal(joined.pictures, examples.pictures[:12])
    assert joined.captions == examples.captions[:12]
    assert {len(group) for group in joined.captions} == {CONFIG.captions_per_picture}


def test_unit_range():
    picture = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    assert torch.allclose(to_unit(picture).flatten(), torch.tensor([-1.0, -0.6, 1.0]))


def test_the_byte_alphabet_is_that_of_clip():
    assert byte_alphabet() == list(bytes_to_unicode().values())


def test_the_tokenizer_makes_words_of_captions_single_tokens(tmp_path):
    captions = [c for group in draw_examples(PretrainConfig(sizes=SIZES), 0, 250).captions for c in group]
    build_tokenizer(captions).save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    for word in ("flower", "daisy", "sunflower", "petals", "photo", "blue", "five", "heart"):
        assert loaded.tokenize(word) == [f"{word}</w>"]
    for species in RARE:
        assert len(loaded.tokenize(species.name)) > 1
    assert loaded.model_max_length == 32
    text = 'photo of a "blue star flower"'
    assert loaded.decode(loaded(text).input_ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")
    assert loaded("é ☃").input_ids.count(loaded.unk_token_id) == 1  # the end; every byte has an entry
    ids = loaded("a photo", padding="max_length").input_ids
    assert ids[0] == loaded.bos_token_id
    assert set(ids[3:]) == {loaded.eos_token_id}


def moments_of(vae, examples: Examples) -> torch.Tensor:
    return encode_moments(vae, examples.pictures)


def test_the_autoencoder_learns_and_is_scaled(vae, examples):
    untrained = train_autoencoder(PretrainConfig(vae_steps=0, sizes=SIZES), examples.pictures, silent)
    assert reconstruction_psnr(vae, examples.pictures) > reconstruction_psnr(untrained, examples.pictures) + 2
    with torch.no_grad():
        pictures = to_unit(torch.from_numpy(examples.pictures))
        latents = vae.encode(pictures).latent_dist.mean * vae.config.scaling_factor
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
    moments = encode_moments(vae, examples.pictures[:3])
    with torch.no_grad():
        posterior = vae.encode(to_unit(torch.from_numpy(examples.pictures[:3]))).latent_dist
    assert torch.allclose(moments[:, 0], posterior.mean, atol=1e-5)
    assert torch.allclose(moments[:, 1], posterior.std, atol=1e-5)


def test_the_loss_of_a_denoiser_that_says_nothing_is_the_mean_weight(base):
    class Silent(torch.nn.Module):
        def forward(self, noisy, timesteps, states):
            return type("Out", (), {"sample": torch.zeros_like(noisy)})

    mute = Base(tokenizer=base.tokenizer, vae=base.vae, text_encoder=base.text_encoder, unet=Silent())
    ids = tokenize(base, [["a photo of a daisy"]])[0].expand(2000, -1)
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.zeros(2000, 4, 4, 4), torch.randn(2000, 4, 4, 4, generator=generator)
    timesteps = draw_timesteps(2000, 1000, generator)
    loss = denoising_loss(mute, Batch(latents=latents, noise=noise, timesteps=timesteps, token_ids=ids))
    kept = np.cumprod(1.0 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    weight = np.minimum(kept / (1 - kept), 5.0) / (kept / (1 - kept))
    # the density of timesteps grows linearly
    density = np.arange(1000) + 0.5
    assert loss.item() == pytest.approx((weight * density).sum() / density.sum(), rel=0.01)


def test_the_denoiser_sees_what_diffusers_adds(base):
    seen = {}

    class Spy(torch.nn.Module):
        def forward(self, noisy, timesteps, states):
            seen.update(noisy=noisy, timesteps=timesteps)
            return type("Out", (), {"sample": noisy})

    spy = Base(tokenizer=base.tokenizer, vae=base.vae, text_encoder=base.text_encoder, unet=Spy())
    latents = torch.randn(8, 4, 4, 4, generator=torch.Generator().manual_seed(5))
    ids = tokenize(base, [["a photo of a daisy"]])[0].expand(8, -1)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(6))
    timesteps = draw_timesteps(8, 1000, torch.Generator().manual_seed(0))
    denoising_loss(spy, Batch(latents=latents, noise=noise, timesteps=timesteps, token_ids=ids))
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    assert torch.allclose(seen["noisy"], scheduler.add_noise(latents, noise, seen["timesteps"]), atol=1e-6)
    # one timestep in each stratum, whose borders are those of a linearly growing density
    assert [int(((t + 0.5) / 1000) ** 2 * 8) for t in seen["timesteps"].tolist()] == list(range(8))


def test_the_parts_of_a_batch_average_to_the_whole(base):
    generator = torch.Generator().manual_seed(1)
    whole = Batch(
        latents=torch.randn(6, 4, 4, 4, generator=generator),
        noise=torch.randn(6, 4, 4, 4, generator=generator),
        timesteps=draw_timesteps(6, 1000, generator),
        token_ids=tokenize(base, [["a photo of a daisy", "a lily"]] * 3).flatten(0, 1),
    )
    weight = base.unet.conv_in.weight

    def gradient(batch: Batch) -> torch.Tensor:
        return torch.autograd.grad(denoising_loss(base, batch), [weight])[0]

    parts = [gradient(whole.cut(Part(rank=rank, size=2))) for rank in range(2)]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, gradient(whole), rtol=1e-4, atol=1e-7)
    assert not torch.allclose(parts[0], parts[1])


def test_gradients_are_averaged_before_they_are_used(vae, examples):
    def weights(part: Part) -> torch.Tensor:
        base = start_base(CONFIG, vae, examples.captions)
        train_denoiser(CONFIG, base, examples.captions, moments_of(vae, examples), silent, lambda rough: None, part)
        return base.unet.conv_in.weight.detach()

    def vanish(gradients):
        for gradient in gradients:
            gradient.zero_()

    untouched = start_base(CONFIG, vae, examples.captions).unet.conv_in.weight.detach()
    # without a gradient nothing but the decay moves the weights
    by_decay = float(untouched.abs().max()) * (1 - (1 - CONFIG.rate * 0.01) ** CONFIG.steps) + 1e-7
    assert float((weights(Part(average=vanish)) - untouched).abs().max()) <= by_decay
    assert float((weights(Part()) - untouched).abs().max()) > 3 * by_decay


def test_a_short_run_saves_a_pipeline_that_diffusers_loads(base, examples, tmp_path):
    folder = tmp_path / "base"
    before = base.unet.conv_out.weight.detach().clone()
    rough = []

    def keep(halfway: Base) -> None:
        rough.append(halfway.unet.conv_out.weight.detach().clone())

    train_denoiser(CONFIG, base, examples.captions, moments_of(base.vae, examples), silent, keep)
    assert rough
    assert not torch.equal(before, base.unet.conv_out.weight)
    save_base(base, folder)
    (folder / "MODEL_CARD.md").write_text("card")
    save_base(base, folder)
    assert (folder / "MODEL_CARD.md").read_text() == "card"
    assert [p.name for p in tmp_path.iterdir()] == ["base"]
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.vae.config.scaling_factor == base.vae.config.scaling_factor
    save_file({"<velmora>": torch.ones(2, SIZES.text_width)}, tmp_path / "learned_embeds.safetensors")
    pipeline.load_textual_inversion(tmp_path / "learned_embeds.safetensors")
    drawn = pipeline(
        "a photo of a <velmora>",
        num_inference_steps=2,
        guidance_scale=3.0,
        output_type="np",
        generator=torch.Generator().manual_seed(0),
    ).images
    assert drawn.shape == (1, 32, 32, 3)
    assert np.isfinite(drawn).all()


def test_drawn_latents_are_those_of_the_pipeline_before_scaling(base, examples):
    places = np.arange(4)
    drawn = draw_latents(base, examples.captions, 4, places)
    assert drawn.shape == (4, 4, 4, 4)
    assert not torch.allclose(draw_latents(base, examples.captions, 5, places), drawn)
    before = base.vae.config["scaling_factor"]
    base.vae.register_to_config(scaling_factor=2.0 * before)
    torch.testing.assert_close(2.0 * draw_latents(base, examples.captions, 4, places), drawn)
    base.vae.register_to_config(scaling_factor=before)


def test_a_drawn_latent_depends_on_its_place_alone(base, examples):
    drawn = draw_latents(base, examples.captions, 4, np.arange(7))
    others = draw_latents(base, examples.captions, 4, np.array([5, 0, 3]))
    torch.testing.assert_close(others, drawn[[5, 0, 3]])
    assert not torch.allclose(drawn[0], drawn[3])


def test_training_is_repeatable(vae, examples):
    def weights():
        base = start_base(CONFIG, vae, examples.captions)
        train_denoiser(CONFIG, base, examples.captions, moments_of(vae, examples), silent, lambda rough: None)
        return torch.cat([p.detach().flatten() for p in base.unet.parameters()])

    assert torch.equal(weights(), weights())


class Killed(Exception):
    pass


def test_a_stopped_course_goes_on_as_if_it_had_not_stopped(vae, examples, tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "_STANDING_EVERY_STEPS", 5)
    moments, standing = moments_of(vae, examples), tmp_path / "standing.safetensors"

    def weights(save, file=None):
        base = start_base(CONFIG, vae, examples.captions)
        train_denoiser(CONFIG, base, examples.captions, moments, silent, save, course=1, standing=file)
        return torch.cat([p.detach().flatten() for net in (base.unet, base.text_encoder) for p in net.parameters()])

    calls = []

    def die(rough):
        calls.append(rough)
        if len(calls) == 4:
            raise Killed

    with pytest.raises(Killed):
        weights(die, standing)
    assert int(load_file(standing)["next_step"]) == 5
    assert [p.name for p in tmp_path.iterdir()] == [standing.name]
    assert torch.equal(weights(lambda rough: None, standing), weights(lambda rough: None))


def test_a_standing_of_other_networks_is_refused(base, tmp_path):
    file = tmp_path / "standing.safetensors"
    weights = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2, 2))]
    generator = torch.Generator()
    optimizer = torch.optim.AdamW(weights)
    save_standing(file, 7, weights, AveragedWeights(weights, 0.9), optimizer, generator)
    assert load_standing(file, weights, AveragedWeights(weights, 0.9), optimizer, generator) == 7
    for others in (weights[:1], [*weights, weights[0]], weights[::-1]):
        with pytest.raises(ValueError, match=re.escape(str(file))):
            load_standing(file, others, AveragedWeights(others, 0.9), optimizer, generator)


def test_the_shipped_base_is_complete_and_small():
    from flowerti.diffusion import DEMO_BASE

    files = [path for path in DEMO_BASE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 16_000_000
    assert not [p.name for p in files if re.search(r"\.(bin|ckpt|pt|pkl|pickle)$", p.name)]
    tokenizer = CLIPTokenizer.from_pretrained(DEMO_BASE / "tokenizer")
    assert tokenizer.tokenize("flower") == ["flower</w>"]
    for species in RARE:
        assert len(tokenizer.tokenize(species.name)) > 1
