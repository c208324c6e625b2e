import copy
from typing import Any

import pytest
import torch
from safetensors.torch import load
from small_techniques import FAMILIES, drawn_by, pipeline_of

from flowerti.diffusion import Base, load_base
from flowerti.personalization.cross_attention import technique as cross_attention
from flowerti.personalization.dreambooth import technique as dreambooth
from flowerti.personalization.unet_weights import (
    flattened,
    names_in,
    num_bytes_in,
    read_weights,
    replaced,
    weights_bytes,
)

ALL = pytest.mark.parametrize(
    "learns", [cross_attention.learns, dreambooth.learns], ids=["cross_attention", "dreambooth"]
)


def moved(unet: Any, names: list[str], size: float = 0.05) -> torch.Tensor:
    """Other values than the U-Net's own in every place."""
    row = flattened(unet, names)
    return row + size * torch.randn(row.shape, generator=torch.Generator().manual_seed(0))


def predict(unet: Any, base: Base) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 8, 8, generator=generator).to(base.dtype)
    states = torch.randn(2, 5, unet.config.cross_attention_dim, generator=generator).to(base.dtype)
    return unet(latents, torch.tensor([10, 700]), states).sample


def test_keys_and_values_of_every_cross_attention_are_named(base):
    attentions = [(name, module) for name, module in base.unet.named_modules() if hasattr(module, "is_cross_attention")]
    expected = {
        f"{name}.{part}.weight" for name, module in attentions if module.is_cross_attention for part in ("to_k", "to_v")
    }
    names = names_in(base.unet, cross_attention.learns)
    assert set(names) == expected and len(names) == len(expected) > 0


def test_all_of_a_u_net_is_its_whole_state(base):
    assert names_in(base.unet, dreambooth.learns) == list(base.unet.state_dict()), "no buffer is left behind"


@ALL
def test_own_values_change_nothing_and_others_are_those_that_torch_loads(base, learns):
    names = names_in(base.unet, learns)
    before = {name: value.clone() for name, value in base.unet.state_dict().items()}
    with torch.no_grad():
        plain = predict(base.unet, base)
        with replaced(base.unet, names, flattened(base.unet, names)):
            torch.testing.assert_close(predict(base.unet, base), plain, rtol=0, atol=1e-5)
        row = moved(base.unet, names)
        with replaced(base.unet, names, row):
            ours = predict(base.unet, base)
        other = copy.deepcopy(base.unet)
        other.load_state_dict(load(weights_bytes(base.unet, names, row)), strict=False)
        torch.testing.assert_close(ours, predict(other, base), rtol=0, atol=1e-5)
        assert (ours - plain).abs().max() > 1e-3
        assert torch.equal(predict(base.unet, base), plain), "put back"
    assert list(base.unet.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in base.unet.state_dict().items())
    assert all(isinstance(p, torch.nn.Parameter) and not p.requires_grad for p in base.unet.parameters())


def test_an_error_inside_puts_the_weights_back(base):
    names = names_in(base.unet, dreambooth.learns)
    own = dict(base.unet.named_parameters())
    with pytest.raises(RuntimeError), replaced(base.unet, names, moved(base.unet, names)):
        raise RuntimeError
    assert all(parameter is own[name] for name, parameter in base.unet.named_parameters())


@ALL
def test_gradients_are_those_of_the_parameters(tiny_base, learns):
    base, other = (load_base(tiny_base, "float32", "cpu") for _ in range(2))
    names = names_in(base.unet, learns)
    row = moved(base.unet, names)
    other.unet.load_state_dict(load(weights_bytes(base.unet, names, row)), strict=False)
    base.unet.double(), other.unet.double()
    row = row.double().requires_grad_()
    with replaced(base.unet, names, row):
        (gradient,) = torch.autograd.grad(predict(base.unet, base).square().mean(), [row])
    for name in names:
        other.unet.get_parameter(name).requires_grad_()
    predict(other.unet, other).square().mean().backward()
    grads = [other.unet.get_parameter(name).grad for name in names]
    assert all(grad is not None for grad in grads)
    torch.testing.assert_close(gradient[0], torch.cat([grad.flatten() for grad in grads]), rtol=0, atol=1e-12)
    assert gradient.abs().max() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@ALL
def test_diffusers_loads_the_file_and_draws_the_same_image(make_tiny_base, learns, family):
    folder = make_tiny_base(text_gain=8.0, **family)
    base = load_base(folder, "float32", "cpu")
    names = names_in(base.unet, learns)
    content = weights_bytes(base.unet, names, moved(base.unet, names))
    ours, theirs = (pipeline_of(folder, is_xl=bool(family.get("is_xl"))) for _ in range(2))
    found = theirs.unet.load_state_dict(load(content), strict=False)
    assert found.unexpected_keys == []
    assert len(found.missing_keys) == len(theirs.unet.state_dict()) - len(names)
    with replaced(ours.unet, names, read_weights(ours.unet, names, content)):
        drawn = drawn_by(ours)
    # slices of the row lie differently in memory, so kernels may round differently
    assert abs(drawn - drawn_by(theirs)).max() < 1e-4
    assert abs(drawn - drawn_by(ours)).max() > 4 / 255


@ALL
@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_are_told_from_the_files_of_a_base(make_tiny_base, tmp_path, learns, family):
    folder = make_tiny_base(**family)
    unet = load_base(folder, "float32", "cpu").unet
    assert num_bytes_in(folder, learns) == 4 * flattened(unet, names_in(unet, learns)).numel() > 0
    assert num_bytes_in(tmp_path, learns) == 0


def test_half_precision_networks_are_given_the_rounded_row(make_tiny_base):
    base = load_base(make_tiny_base(), "bfloat16", "cpu")
    names = names_in(base.unet, dreambooth.learns)
    row = flattened(base.unet, names)
    assert row.dtype == torch.float32
    with replaced(base.unet, names, row):
        assert {parameter.dtype for parameter in base.unet.parameters()} == {torch.bfloat16}
        assert base.dtype == torch.bfloat16


def test_a_file_comes_back_bit_by_bit_and_fits_its_own_base_only(base, make_tiny_base):
    names = names_in(base.unet, cross_attention.learns)
    row = moved(base.unet, names)
    content = weights_bytes(base.unet, names, row)
    assert torch.equal(read_weights(base.unet, names, content), row)
    other = load_base(make_tiny_base(is_xl=True), "float32", "cpu").unet
    with pytest.raises(ValueError, match=r"nothing that fits .*attn2\.to_k\.weight: it was learnt on another base"):
        read_weights(other, names_in(other, cross_attention.learns), content)
    with pytest.raises(ValueError, match="which this base lacks: it was learnt on another"):
        read_weights(base.unet, names[:-1], content)
    with pytest.raises(ValueError, match=r"the weights are \d+ numbers, this base's U-Net has \d+"):
        with replaced(base.unet, names, row[:, :-1]):
            pass
    with pytest.raises(ValueError, match="has none of the layers"):
        flattened(base.unet, [])
