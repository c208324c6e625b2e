"""Prior preservation: what is drawn for it, its loss against its formula, and that it preserves."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from small_techniques import (
    CLASS_NAME,
    FAMILIES,
    SMALL,
    TOKEN,
    code_of,
    in_double,
    pipeline_of,
    train,
    with_prior,
    with_token,
)

from flowerti.config.experiment import PriorConfig
from flowerti.diffusion import load_base
from flowerti.personalization import prior as prior_module
from flowerti.personalization.denoising import draw, prediction_losses, prepare
from flowerti.personalization.dreambooth.technique import learns
from flowerti.personalization.encoding import encode_text, tokenise
from flowerti.personalization.prior import Priors, prior_details
from flowerti.personalization.unet_weights import names_in, replaced

CONFIG = PriorConfig(noun="flower", num_images=5, num_inference_steps=4, weight=0.7)


def seeds_of(name: str, num: int) -> list[int]:
    """The seed rule, written out."""
    texts = [json.dumps([3, "", name, index]).encode() for index in range(num)]
    return [int(hashlib.sha256(text).hexdigest()[:16], 16) // 2 for text in texts]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_prior_is_what_diffusers_draws_of_the_noun(make_tiny_base, family):
    folder = make_tiny_base(text_gain=8.0, **family)
    found = Priors(config=CONFIG).of(load_base(folder, "float32", "cpu"), 3, 0, 32)
    pipeline = pipeline_of(folder, is_xl=bool(family.get("is_xl")))
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(s)) for s in seeds_of("prior/flower", 5)]
    expected = pipeline(
        prompt=["a photo of a flower"] * 5,
        latents=torch.stack(noise),
        num_inference_steps=4,
        guidance_scale=3.0,
        output_type="latent",
    ).images
    torch.testing.assert_close(found.mean, expected, rtol=0, atol=2e-4)
    assert not found.std.any(), "each latent is one point"
    assert len(found.captions) == 1
    assert (found.mean[0] - found.mean[1]).abs().max() > 0.1


def test_a_prior_is_drawn_once_for_each_learning_in_batches_of_one_size(base, monkeypatch):
    sizes, real = [], prior_module.draw_latents
    monkeypatch.setattr(prior_module, "draw_latents", lambda *args: sizes.append(len(args[4])) or real(*args))
    priors = Priors(config=dataclasses.replace(CONFIG, num_images=11, num_inference_steps=2))
    first = priors.of(base, 3, 0, 32)
    assert priors.of(base, 3, 0, 32) is first
    assert sizes == [8, 3]
    other = priors.of(base, 3, 1, 32)
    assert (first.mean - other.mean).abs().max() > 0.1
    noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(s)) for s in seeds_of("prior/flower", 11)]
    again = Priors(config=dataclasses.replace(CONFIG, num_images=2, num_inference_steps=2)).of(base, 3, 0, 32)
    torch.testing.assert_close(again.mean, first.mean[:2], rtol=0, atol=1e-4)
    assert (torch.stack(noise) - first.mean).abs().max() > 0.1


def test_no_noun_and_no_config_are_no_prior(base, images):
    data = prepare(base, images, "rose", 0)
    for config in (None, PriorConfig()):
        priors = Priors(config=config)
        assert priors.of(base, 3, 0, 32) is None
        assert priors.added_to(data, None) is data
    assert prior_details(PriorConfig()) == {}
    assert prior_details(CONFIG) == {"prior": "flower", "prior_weight": 0.7}


def test_a_class_s_own_choices_are_those_without_a_prior(base, images):
    data = prepare(base, images, "rose", 0)
    priors = Priors(config=CONFIG)
    both = priors.added_to(data, priors.of(base, 3, 0, 32))
    alone, beside = draw(data, 6, 1000, 5), draw(both, 6, 1000, 5)
    for name in ("views", "captions", "timesteps", "posterior_noise", "noise"):
        assert torch.equal(getattr(alone, name), getattr(beside, name))
    assert (alone.num_latents, beside.num_latents) == (6, 12)
    assert not torch.equal(beside.prior.noise, beside.noise)
    assert beside.prior.views.max() < 5 and not beside.prior.captions.any()
    part = beside.part(4, 4)
    assert (part.num_latents, len(part.prior.views)) == (4, 2)
    assert torch.equal(part.prior.noise, beside.prior.noise[4:])


def _restated(base, data, chosen, rows) -> np.ndarray:
    """Mean over a batch of the squared error, in NumPy but for the networks."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = np.cumprod(1 - betas)
    timesteps = chosen.timesteps.numpy()
    signal, size = (root[timesteps, None, None, None] for root in (np.sqrt(kept), np.sqrt(1 - kept)))
    latents = data.mean.numpy()[chosen.views] + data.std.numpy()[chosen.views] * chosen.posterior_noise.numpy()
    noise = chosen.noise.numpy()
    is_velocity = base.noise_scheduler.config.prediction_type == "v_prediction"
    target = signal * noise - size * latents if is_velocity else noise
    states = encode_text(base, data.captions[chosen.captions], rows)
    extra = {}
    if states.pooled is not None:
        time_ids = torch.tensor([[32.0, 32, 0, 0, 32, 32]]).double().expand(len(timesteps), -1)
        extra["added_cond_kwargs"] = {"text_embeds": states.pooled, "time_ids": time_ids}
    noisy = torch.from_numpy(signal * latents + size * noise)
    predicted = base.unet(noisy, chosen.timesteps, states.hidden, **extra).sample
    return ((predicted.numpy() - target) ** 2).mean()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [name for name in SMALL if name != "lora"])
def test_the_loss_is_that_of_the_class_and_the_weighted_one_of_the_prior(make_tiny_base, images, family, name):
    base = with_token(in_double(load_base(make_tiny_base(text_gain=8.0, **family), "float32", "cpu")))
    priors = Priors(config=dataclasses.replace(CONFIG, weight=0.7))
    data = prepare(base, images, TOKEN, 2)
    prior = priors.of(base, 3, 0, 32)
    prior = dataclasses.replace(prior, mean=prior.mean.double(), std=prior.std.double())
    data = priors.added_to(data, prior)
    chosen, code = draw(data, 4, 1000, 9), code_of(name)
    start = code.start(base, data, SMALL[name], CLASS_NAME, 0).double()
    with torch.no_grad():
        (ours,) = code.losses(base, [data])(base, [start], [data], [chosen])
        own = _restated(base, data, chosen, base.token_rows)
        general = _restated(base, prior, chosen.prior, None)
    assert ours.item() == pytest.approx(own + 0.7 * general, rel=1e-6)
    assert abs(general - own) > 1e-3


def test_what_the_noun_looks_like_stays_where_a_prior_is_kept(make_tiny_base, images):
    base = with_token(load_base(make_tiny_base(text_gain=8.0), "float32", "cpu"))
    plain = dataclasses.replace(SMALL["dreambooth"], num_steps=40, batch_size=8)
    priors = Priors(config=with_prior(plain, weight=2.0).prior)
    data, prior = prepare(base, images, TOKEN, 2), priors.of(base, 3, 0, 32)
    unseen, general = draw(prior, 64, 1000, 12345), encode_text(base, tokenise(base, ["a photo of a flower"]))
    states = general.at(torch.zeros(64, dtype=torch.int64))
    losses = {}
    for kind, of_kind in {"without": data, "with": priors.added_to(data, prior)}.items():
        row = train(base, of_kind, plain).state.learnt
        with torch.no_grad(), replaced(base.unet, names_in(base.unet, learns), row):
            losses[kind] = prediction_losses(base, states, [prior], [unseen])[0].item()
    assert losses["with"] < 0.98 * losses["without"]


@pytest.mark.parametrize("class_name", ["flower", "Flower", " flower  "])
def test_the_class_itself_is_no_prior_of_it(class_name):
    with pytest.raises(ValueError, match=r"^dreambooth\.prior\.noun must not be 'flower', the class itself: name "):
        CONFIG.check_class(class_name, "dreambooth.prior")
    CONFIG.check_class("flower bed", "dreambooth.prior")
    PriorConfig().check_class("flower", "dreambooth.prior")
