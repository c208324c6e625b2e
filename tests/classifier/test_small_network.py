"""The small network: its start by formula and seed, its memory format, and that it learns from nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from flowerti.classifier.batches import LabelledInputs, TrainingRun
from flowerti.classifier.fine_tuning import FineTuned, fine_tune, start_of
from flowerti.classifier.report import train_with_curves
from flowerti.classifier.small_network import WIDTHS, SmallNetwork, _Residual, new_network, redrawn
from flowerti.config.experiment import ClassifierConfig
from flowerti.features.extraction import extract


def stripes(num: int, seed: int) -> LabelledInputs:
    """Noise with horizontal, vertical or no stripes, equally bright: a class that no mean of pixels tells."""
    rng, ids = np.random.default_rng(seed), np.arange(num) % 3
    images = rng.integers(60, 196, (num, 32, 32, 3))
    images[ids == 0, ::4] += 50
    images[ids == 1, :, ::4] += 50
    images[ids == 2] += 12
    return LabelledInputs(inputs=images.astype(np.uint8), class_ids=ids, num_classes=3)


def state(seed: int) -> dict[str, torch.Tensor]:
    return new_network(64, seed).module.state_dict()


def test_weights_come_from_the_seed_and_no_global_generator():
    torch.manual_seed(1)
    before, first = torch.random.get_rng_state(), state(5)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    again, other = state(5), state(6)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_start_has_the_variance_of_its_source_and_blocks_that_do_nothing():
    network = new_network(64, 3).module
    assert isinstance(network, SmallNetwork)
    blocks = [block for block in network.residuals if isinstance(block, _Residual)]
    for layer in (*network.halvings, *(block.convolutions[0] for block in blocks)):
        assert isinstance(layer, nn.Conv2d)
        fan_in = layer.weight[0].numel()
        assert float(layer.weight.std()) == pytest.approx(math.sqrt(2 / fan_in), rel=0.1)
        assert layer.bias is not None and (layer.bias == 0).all()
    for width, block in zip(WIDTHS[1:], blocks, strict=True):
        images = torch.randn(2, width, 4, 4, generator=torch.Generator().manual_seed(0))
        assert torch.equal(block(images), images)


def test_a_network_that_was_trained_is_drawn_anew_and_stays_as_it_is():
    trained = new_network(32, 1)
    with torch.no_grad():
        for parameter in trained.module.parameters():
            parameter.add_(1)
    kept = {name: value.clone() for name, value in trained.module.state_dict().items()}
    fresh = redrawn(trained, 4).module.state_dict()
    assert all(torch.equal(fresh[name], value) for name, value in state(4).items())
    assert all(torch.equal(kept[name], value) for name, value in trained.module.state_dict().items())


def test_an_image_has_the_same_features_in_any_batch_and_layout():
    backbone, images = new_network(48, 0), stripes(7, 0).inputs
    whole, alone = extract(backbone, images), extract(backbone, images[2:3])
    assert whole.shape == (7, backbone.dim)
    np.testing.assert_allclose(whole[2:3], alone, atol=1e-5)
    weight = backbone.module.get_parameter("halvings.1.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    inputs = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    plain = SmallNetwork()
    plain.load_state_dict(backbone.module.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(plain(inputs), backbone.module(inputs))


def test_it_learns_what_no_mean_of_pixels_tells():
    train, held_out = stripes(120, 1), stripes(60, 2)
    config = ClassifierConfig(mode="scratch", input_size_px=32, num_epochs=12, batch_size=24, learning_rate=3e-3)
    model, curves = train_with_curves(train, held_out, config, 0, new_network(32))
    assert isinstance(model, FineTuned)
    assert curves[-1].validation_accuracy > 0.95
    means = [replace(one, inputs=one.inputs.mean(axis=(1, 2), dtype=np.float32)[:, None]) for one in (train, held_out)]
    head = ClassifierConfig(num_epochs=40, batch_size=24, learning_rate=0.01)
    assert train_with_curves(means[0], means[1], head, 0)[1][-1].validation_accuracy < 0.6
    again, _ = train_with_curves(train, held_out, config, 0, new_network(32, 9))
    np.testing.assert_array_equal(model.logits(held_out.inputs), again.logits(held_out.inputs))
    assert not np.array_equal(
        model.logits(held_out.inputs),
        train_with_curves(train, held_out, config, 1, new_network(32))[0].logits(held_out.inputs),
    )


def test_without_a_step_it_is_the_start_of_its_seed():
    backbone, train = new_network(32), stripes(6, 3)
    config = ClassifierConfig(mode="scratch", input_size_px=32, batch_size=3)
    run = TrainingRun(config=config, seed=8, num_steps=0)
    starts = [start_of(backbone, mode, 8) for mode in ("scratch", "scratch", "full")]
    found = [fine_tune(start, train, run).features(train.inputs) for start in starts]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], extract(backbone, train.inputs))
    assert not np.array_equal(found[0], found[2])
