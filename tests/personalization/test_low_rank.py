import copy
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load

from flowerti.diffusion import Base, load_base
from flowerti.personalization.lora.layers import check_rank, unet_layers
from flowerti.personalization.low_rank import adapted, adapter_bytes, read_adapter, start_adapter

RANK = 2


def filled(base: Base, seed: int = 0) -> torch.Tensor:
    """An adapter with no zeros in it."""
    parameters = start_adapter(unet_layers(base.unet), RANK, seed, "lora")
    generator = torch.Generator().manual_seed(seed)
    return 0.2 * torch.randn(parameters.shape, generator=generator)


def merged(unet: Any, content: bytes) -> Any:
    """A copy of the U-Net whose weights are W + B A, from the file's own tensors."""
    changed, tensors = copy.deepcopy(unet), load(content)
    for name in {key.rsplit(".lora_", 1)[0] for key in tensors}:
        layer = changed.get_submodule(name.removeprefix("unet."))
        layer.weight.data += tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
    return changed


def predict(unet: Any, base: Base) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 8, 8, generator=generator).to(base.dtype)
    states = torch.randn(2, 5, unet.config.cross_attention_dim, generator=generator).to(base.dtype)
    return unet(latents, torch.tensor([10, 700]), states).sample


def test_every_projection_of_every_attention_is_adapted(base):
    names = list(unet_layers(base.unet))
    num_attentions = len([name for name, _ in base.unet.named_modules() if name.endswith((".attn1", ".attn2"))])
    assert len(names) == 4 * num_attentions > 0


def test_a_fresh_adapter_changes_nothing_and_a_filled_one_is_its_merged_weights(base):
    with torch.no_grad():
        plain = predict(base.unet, base)
        with adapted(unet_layers(base.unet), start_adapter(unet_layers(base.unet), RANK, 0, "lora")):
            assert torch.equal(predict(base.unet, base), plain)
        parameters = filled(base)
        with adapted(unet_layers(base.unet), parameters):
            carried = predict(base.unet, base)
        expected = predict(merged(base.unet, adapter_bytes(unet_layers(base.unet), parameters)), base)
        assert (carried - plain).abs().max() > 1e-3
        torch.testing.assert_close(carried, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(predict(base.unet, base), plain), "taken off again"


def test_gradients_are_those_of_the_chain_rule(tiny_base):
    base = load_base(tiny_base, "float32", "cpu")
    base.unet.double()
    parameters = filled(base).double().requires_grad_()
    with adapted(unet_layers(base.unet), parameters):
        loss = predict(base.unet, base).square().mean()
    (gradient,) = torch.autograd.grad(loss, [parameters])
    content = adapter_bytes(unet_layers(base.unet), parameters)
    whole = merged(base.unet, content)
    for layer in unet_layers(whole).values():
        layer.weight.requires_grad_()
    predict(whole, base).square().mean().backward()
    ours, tensors = load(adapter_bytes(unet_layers(base.unet), gradient)), load(content)
    for name, layer in unet_layers(whole).items():
        down, up = (tensors[f"{name}.lora_{part}.weight"] for part in "AB")
        torch.testing.assert_close(ours[f"{name}.lora_A.weight"], up.T @ layer.weight.grad, rtol=0, atol=1e-12)
        torch.testing.assert_close(ours[f"{name}.lora_B.weight"], layer.weight.grad @ down.T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("is_xl", [False, True])
def test_diffusers_loads_the_file_and_draws_the_same_image(make_tiny_base, tmp_path, is_xl):
    folder = make_tiny_base(is_xl=is_xl, text_gain=8.0)
    base = load_base(folder, "float32", "cpu")
    parameters = filled(base)
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(adapter_bytes(unet_layers(base.unet), parameters))
    kind = StableDiffusionXLPipeline if is_xl else StableDiffusionPipeline
    theirs, ours = kind.from_pretrained(folder), kind.from_pretrained(folder)
    theirs.load_lora_weights(tmp_path)
    with adapted(unet_layers(ours.unet), parameters):
        drawn = _draw(ours)
    assert np.abs(drawn - _draw(theirs)).max() < 1 / 255
    assert np.abs(drawn - _draw(ours)).max() > 4 / 255


def _draw(pipeline: Any) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(0)
    return pipeline("a red lily", num_inference_steps=3, generator=noise, output_type="np").images[0]


def test_a_file_comes_back_bit_by_bit_and_fits_its_own_base_only(base, make_tiny_base):
    parameters = filled(base)
    content = adapter_bytes(unet_layers(base.unet), parameters)
    assert torch.equal(read_adapter(unet_layers(base.unet), content), parameters)
    other = load_base(make_tiny_base(is_xl=True), "float32", "cpu")
    with pytest.raises(ValueError, match="another"):
        read_adapter(unet_layers(other.unet), content)
    with pytest.raises(ValueError, match="another"):
        read_adapter(unet_layers(base.unet), adapter_bytes(unet_layers(other.unet), filled(other)))
    with pytest.raises(ValueError, match="do not fit this base"), adapted(unet_layers(base.unet), parameters[:, :-1]):
        pass


def test_starts_differ_by_seed_and_a_rank_must_fit(base, tiny_base):
    first, second = (start_adapter(unet_layers(base.unet), RANK, seed, "lora") for seed in (0, 1))
    assert torch.equal(first, start_adapter(unet_layers(base.unet), RANK, 0, "lora"))
    assert not torch.equal(first, second)
    smallest = min(min(layer.weight.shape) for layer in unet_layers(base.unet).values())
    refusal = rf"^lora\.rank: {smallest + 1} is more than .* {smallest}$"
    with pytest.raises(ValueError, match=refusal):
        start_adapter(unet_layers(base.unet), smallest + 1, 0, "lora")
    check_rank(tiny_base, smallest, "lora")
    with pytest.raises(ValueError, match=refusal):
        check_rank(tiny_base, smallest + 1, "lora")
