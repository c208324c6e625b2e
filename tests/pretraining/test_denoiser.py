"""Training the denoiser: closed forms, diffusers' own noise, parts against the whole, stopped against not stopped."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tiny_pretraining import CONFIG, SILENT, SIZES

from flowerti.classifier.batch_share import BatchShare
from pretraining import pretrain_state
from pretraining.autoencoder import encode_moments
from pretraining.denoiser import Batch, CaptionedLatents, Cycle, denoising_loss, draw_timesteps, train_denoiser
from pretraining.examples import Examples
from pretraining.networks import BaseNetworks, save_base, start_base, tokenize


def latents_of(vae, examples: Examples) -> CaptionedLatents:
    return CaptionedLatents(captions=examples.captions, moments=encode_moments(vae, examples.images))


def test_the_loss_of_a_denoiser_that_says_nothing_is_the_mean_weight(base):
    class Silent(torch.nn.Module):
        def forward(self, noisy, timesteps, states):
            return type("Out", (), {"sample": torch.zeros_like(noisy)})

    mute = BaseNetworks(tokenizer=base.tokenizer, vae=base.vae, text_encoder=base.text_encoder, unet=Silent())
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

    spy = BaseNetworks(tokenizer=base.tokenizer, vae=base.vae, text_encoder=base.text_encoder, unet=Spy())
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

    parts = [gradient(whole.cut(BatchShare(rank=rank, size=2))) for rank in range(2)]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, gradient(whole), rtol=1e-4, atol=5e-6)
    assert not torch.allclose(parts[0], parts[1])


def test_gradients_are_averaged_before_they_are_used(vae, examples):
    def weights(part: BatchShare) -> torch.Tensor:
        base = start_base(SIZES, CONFIG.seed + 2, vae, examples.captions)
        train_denoiser(CONFIG, base, latents_of(vae, examples), Cycle(), SILENT, part)
        return base.unet.conv_in.weight.detach()

    def vanish(gradients):
        for gradient in gradients:
            gradient.zero_()

    untouched = start_base(SIZES, CONFIG.seed + 2, vae, examples.captions).unet.conv_in.weight.detach()
    # without a gradient nothing but the decay moves the weights
    by_decay = float(untouched.abs().max()) * (1 - (1 - CONFIG.rate * 0.01) ** CONFIG.steps) + 1e-7
    assert float((weights(BatchShare(average=vanish)) - untouched).abs().max()) <= by_decay
    assert float((weights(BatchShare()) - untouched).abs().max()) > 3 * by_decay


def test_a_short_run_saves_a_pipeline_that_diffusers_loads(base, examples, tmp_path):
    folder = tmp_path / "base"
    before = base.unet.conv_out.weight.detach().clone()
    rough = []

    def keep(halfway: BaseNetworks) -> None:
        rough.append(halfway.unet.conv_out.weight.detach().clone())

    train_denoiser(CONFIG, base, latents_of(base.vae, examples), Cycle(save=keep), SILENT)
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


def test_training_is_repeatable(vae, examples):
    def weights():
        base = start_base(SIZES, CONFIG.seed + 2, vae, examples.captions)
        train_denoiser(CONFIG, base, latents_of(vae, examples), Cycle(), SILENT)
        return torch.cat([p.detach().flatten() for p in base.unet.parameters()])

    assert torch.equal(weights(), weights())


class Killed(Exception):
    pass


def test_a_stopped_cycle_goes_on_as_if_it_had_not_stopped(vae, examples, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain_state, "CHECKPOINT_EVERY_STEPS", 5)
    latents, checkpoint = latents_of(vae, examples), tmp_path / "checkpoint.safetensors"

    def weights(save, file=None):
        base = start_base(SIZES, CONFIG.seed + 2, vae, examples.captions)
        train_denoiser(CONFIG, base, latents, Cycle(number=1, checkpoint=file, save=save), SILENT)
        return torch.cat([p.detach().flatten() for net in (base.unet, base.text_encoder) for p in net.parameters()])

    calls = []

    def die(rough):
        calls.append(rough)
        if len(calls) == 4:
            raise Killed

    with pytest.raises(Killed):
        weights(die, checkpoint)
    assert int(load_file(checkpoint)["next_step"]) == 5
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.name]
    assert torch.equal(weights(lambda rough: None, checkpoint), weights(lambda rough: None))


@pytest.mark.slow
# torch's compiler looks at tensors and cached functions of diffusers, and tells what it saw
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
def test_a_compiled_denoiser_has_the_same_gradients_and_leaves_a_base_that_can_be_saved(vae, examples, tmp_path):
    base = start_base(SIZES, CONFIG.seed + 2, vae, examples.captions)
    generator = torch.Generator().manual_seed(1)
    batch = Batch(
        latents=torch.randn(6, 4, 4, 4, generator=generator),
        noise=torch.randn(6, 4, 4, 4, generator=generator),
        timesteps=draw_timesteps(6, 1000, generator),
        token_ids=tokenize(base, [["a photo of a daisy", "a lily"]] * 3).flatten(0, 1),
    )

    def gradients(unet) -> torch.Tensor:
        loss = denoising_loss(replace(base, unet=unet), batch)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(base.unet.parameters()))])

    plain, compiled = gradients(base.unet), gradients(torch.compile(base.unet))
    assert float((compiled - plain).norm()) < 1e-4 * float(plain.norm())
    before = base.unet.conv_in.weight.detach().clone()
    config = replace(CONFIG, steps=2, stepping=replace(CONFIG.stepping, compiled=True))
    train_denoiser(config, base, latents_of(vae, examples), Cycle(), SILENT)
    save_base(base, tmp_path / "base")
    assert not torch.equal(base.unet.conv_in.weight, before)
    loaded = UNet2DConditionModel.from_pretrained(tmp_path / "base" / "unet", torch_dtype=torch.float16)
    assert torch.equal(loaded.conv_in.weight, base.unet.conv_in.weight.half())
