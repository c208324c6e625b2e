"""The Inception of the FID against torch-fidelity's own forward pass."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from feature_images import random_images

from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import extract

needs_fidelity = pytest.mark.skipif(
    importlib.util.find_spec("torch_fidelity") is None, reason="the package torch-fidelity is not installed"
)


@needs_fidelity
def test_inception_is_torch_fidelitys_own_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path / "inception.safetensors"
    torch.save({}, tmp_path / "empty.pth")
    with monkeypatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        original = FeatureExtractorInceptionV3(
            "inception", ["2048"], feature_extractor_weights_path=str(tmp_path / "empty.pth")
        )
    safetensors.torch.save_file(original.state_dict(), path)
    images = random_images(2, 299)
    with torch.no_grad():
        (expected,) = original.eval()(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
    backbone = load_backbone("inception", str(path), 299)
    assert backbone.dim == 2048
    assert expected.std() > 0
    features = extract(backbone, images)
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
