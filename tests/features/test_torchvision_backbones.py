"""torchvision's models against their own forward pass, and a download that fails."""

import hashlib
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
from feature_images import normalised, random_images, random_resnet18
from torch import nn

from flowerti.features.backbones import load_backbone
from flowerti.features.extraction import extract


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvision_model_loses_only_its_classifier(tmp_path: Path, suffix: str) -> None:
    network = random_resnet18(num_classes=7)
    path = tmp_path / f"weights{suffix}"
    (torch.save if suffix == ".pth" else safetensors.torch.save_file)(network.state_dict(), path)
    network.fc = nn.Identity()
    images = random_images(3, 64)
    with torch.no_grad():
        expected = network(normalised(images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))).numpy()
    backbone = load_backbone("resnet18", str(path), 64)
    assert (backbone.name, backbone.dim, backbone.input_size_px) == ("resnet18", 512, 64)
    assert backbone.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_allclose(extract(backbone, images), expected, rtol=1e-4, atol=1e-4)


def test_failed_download_says_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(ValueError, match=r"cannot be downloaded .*no network.*: fetch https://.*/resnet18-.*\.pth"):
        load_backbone("resnet18", "", 64)
