"""Weights learnt whole, beside plain AdamW on a diffusers U-Net's own parameters in float64."""

import dataclasses

import pytest
import torch
from small_techniques import (
    CLASS_NAME,
    FAMILIES,
    RUN_SEED,
    SMALL,
    TOKEN,
    code_of,
    in_double,
    train,
    with_prior,
    with_token,
)
from torch.nn.functional import mse_loss

from flowerti.artifacts.identity import seed_for
from flowerti.config.techniques import TECHNIQUES
from flowerti.diffusion import Base, load_base
from flowerti.personalization.cross_attention import technique as cross_attention
from flowerti.personalization.denoising import EncodedImages, draw, prepare
from flowerti.personalization.dreambooth import technique as dreambooth
from flowerti.personalization.encoding import encode_text
from flowerti.personalization.prior import Priors
from flowerti.personalization.schedule import learning_rate_at
from flowerti.personalization.unet_weights import names_in

LEARNS = {"cross_attention": cross_attention.learns, "dreambooth": dreambooth.learns}


def _plain_loss(base: Base, data: EncodedImages, chosen, rows) -> torch.Tensor:
    latents = data.mean[chosen.views] + data.std[chosen.views] * chosen.posterior_noise
    scheduler = base.noise_scheduler
    noisy = scheduler.add_noise(latents, chosen.noise, chosen.timesteps)
    is_velocity = scheduler.config.prediction_type == "v_prediction"
    target = scheduler.get_velocity(latents, chosen.noise, chosen.timesteps) if is_velocity else chosen.noise
    states, extra = encode_text(base, data.captions[chosen.captions], rows), {}
    if states.pooled is not None:
        time_ids = torch.tensor([[32.0, 32, 0, 0, 32, 32]]).double().expand(len(latents), -1)
        extra["added_cond_kwargs"] = {"text_embeds": states.pooled, "time_ids": time_ids}
    return mse_loss(base.unet(noisy, chosen.timesteps, states.hidden, **extra).sample, target)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", list(LEARNS))
def test_steps_are_those_of_plain_adamw_on_the_class_and_the_prior(make_tiny_base, images, name, family):
    folder, config = make_tiny_base(text_gain=8.0, **family), with_prior(SMALL[name], weight=0.6)
    base, theirs = (with_token(in_double(load_base(folder, "float32", "cpu"))) for _ in range(2))
    priors = Priors(config=config.prior)
    drawn = priors.of(base, RUN_SEED, 0, 32)
    prior = dataclasses.replace(drawn, mean=drawn.mean.double(), std=drawn.std.double())
    data = priors.added_to(prepare(base, images, TOKEN, 2), prior)
    parameters = [theirs.unet.get_parameter(one).requires_grad_() for one in names_in(theirs.unet, LEARNS[name])]
    initial = torch.cat([parameter.detach().flatten() for parameter in parameters])
    optimizer = torch.optim.AdamW(parameters, weight_decay=config.weight_decay)
    for step in range(config.num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, config)
        seed = seed_for(RUN_SEED, CLASS_NAME, f"{TECHNIQUES[name].seeds}/step", step)
        chosen = draw(data, config.batch_size, 1000, seed)
        optimizer.zero_grad()
        own = _plain_loss(theirs, data, chosen, theirs.token_rows)
        (own + 0.6 * _plain_loss(theirs, prior, chosen.prior, None)).backward()
        optimizer.step()
    ours = train(base, data, config).state.learnt
    expected = torch.cat([parameter.detach().flatten() for parameter in parameters])
    assert (expected - initial).abs().max() > 1e-3
    torch.testing.assert_close(ours[0], expected, rtol=0, atol=1e-9)
    assert not any(parameter.requires_grad for parameter in base.unet.parameters())


@pytest.mark.parametrize("name", list(LEARNS))
def test_a_base_without_such_layers_is_refused_before_it_is_loaded(tiny_base, tmp_path, name):
    code_of(name).check(tiny_base, SMALL[name])
    with pytest.raises(ValueError, match=rf"^{name}: the U-Net of .* has none of the layers that it learns: use "):
        code_of(name).check(tmp_path, SMALL[name])
