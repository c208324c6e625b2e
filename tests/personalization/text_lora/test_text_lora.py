"""Adapters of the text encoders: peft's steps, diffusers' file, and ranks that fit."""

import dataclasses

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load
from small_techniques import (
    CLASS_NAME,
    FAMILIES,
    RUN_SEED,
    SMALL,
    TOKEN,
    code_of,
    drawn_by,
    in_double,
    pipeline_of,
    train,
    with_prior,
    with_token,
)

from flowerti.artifacts.identity import seed_for
from flowerti.diffusion import load_base
from flowerti.personalization.denoising import draw, prediction_losses, prepare
from flowerti.personalization.encoding import encode_text
from flowerti.personalization.low_rank import adapted, adapter_bytes, read_adapter, start_adapter
from flowerti.personalization.prior import Priors
from flowerti.personalization.schedule import learning_rate_at
from flowerti.personalization.text_lora.layers import check_rank, text_layers


def filled(base) -> torch.Tensor:
    """An adapter with no zeros in it."""
    shape = start_adapter(text_layers(base), 2, 0, "text_lora").shape
    return 0.5 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_loads_the_file_and_draws_the_same_image(make_tiny_base, tmp_path, family):
    folder, is_xl = make_tiny_base(text_gain=8.0, **family), bool(family.get("is_xl"))
    base = load_base(folder, "float32", "cpu")
    content = adapter_bytes(text_layers(base), filled(base))
    (tmp_path / "text_lora.safetensors").write_bytes(content)
    parts = {name.split(".")[0] for name in load(content)}
    assert parts == ({"text_encoder", "text_encoder_2"} if is_xl else {"text_encoder"})
    ours, theirs = (pipeline_of(folder, is_xl) for _ in range(2))
    theirs.load_lora_weights(tmp_path, weight_name="text_lora.safetensors")
    encoders = {"text_encoder": ours.text_encoder} | ({"text_encoder_2": ours.text_encoder_2} if is_xl else {})
    layers = text_layers(dataclasses.replace(base, **encoders))
    with adapted(layers, read_adapter(layers, content)):
        drawn = drawn_by(ours)
    assert abs(drawn - drawn_by(theirs)).max() < 1 / 255
    assert abs(drawn - drawn_by(ours)).max() > 4 / 255


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_are_those_of_peft_and_plain_adamw_on_the_class_and_the_prior(make_tiny_base, images, family):
    folder, config = make_tiny_base(text_gain=8.0, **family), with_prior(SMALL["text_lora"], weight=0.6)
    base, theirs = (with_token(in_double(load_base(folder, "float32", "cpu"))) for _ in range(2))
    priors = Priors(config=config.prior)
    drawn = priors.of(base, RUN_SEED, 0, 32)
    prior = dataclasses.replace(drawn, mean=drawn.mean.double(), std=drawn.std.double())
    data = priors.added_to(prepare(base, images, TOKEN, 2), prior)
    settings = LoraConfig(
        r=config.rank, lora_alpha=config.rank, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"]
    )
    initial = code_of("text_lora").start(
        base, data, config, CLASS_NAME, seed_for(RUN_SEED, CLASS_NAME, "text_lora/start", 0)
    )
    parameters = []
    for encoder in theirs.text_encoders:
        inject_adapter_in_model(settings, encoder)
        parameters += [p for name, p in encoder.named_parameters() if ".lora_" in name]
    begin = 0
    for parameter in parameters:  # in the order of the file: of each layer A, then B
        parameter.data = initial[0, begin : begin + parameter.numel()].view_as(parameter).double()
        parameter.requires_grad_()
        begin += parameter.numel()
    assert begin == initial.numel()
    optimizer = torch.optim.AdamW(parameters, weight_decay=config.weight_decay)
    for step in range(config.num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, config)
        chosen = draw(data, config.batch_size, 1000, seed_for(RUN_SEED, CLASS_NAME, "text_lora/step", step))
        optimizer.zero_grad()
        losses = [
            prediction_losses(theirs, encode_text(theirs, of.captions[c.captions], theirs.token_rows), [of], [c])[0]
            for of, c in ((data, chosen), (prior, chosen.prior))
        ]
        (losses[0] + 0.6 * losses[1]).backward()
        # SDXL takes the state before the first encoder's last layer, which has no gradient: a row has zeros there
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        optimizer.step()
    ours = train(base, data, config).state.learnt
    expected = torch.cat([p.detach().flatten() for p in parameters])
    assert (expected - initial[0]).abs().max() > 1e-2
    torch.testing.assert_close(ours[0], expected, rtol=0, atol=1e-9)


def test_a_rank_must_fit_every_text_encoder(make_tiny_base, tmp_path):
    for is_xl in (False, True):
        folder = make_tiny_base(is_xl=is_xl)
        base = load_base(folder, "float32", "cpu")
        check_rank(folder, 16)
        refusal = r"^text_lora\.rank: 17 is more than the smallest layer of the base has, 16$"
        with pytest.raises(ValueError, match=refusal):
            check_rank(folder, 17)
        with pytest.raises(ValueError, match=refusal):
            start_adapter(text_layers(base), 17, 0, "text_lora")
    with pytest.raises(ValueError, match="no attention layer"):
        check_rank(tmp_path, 1)


def test_an_adapter_of_another_base_is_refused(base, make_tiny_base):
    other = load_base(make_tiny_base(is_xl=True), "float32", "cpu")
    with pytest.raises(ValueError, match="another"):
        read_adapter(text_layers(base), adapter_bytes(text_layers(other), filled(other)))
