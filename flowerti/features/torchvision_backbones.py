"""torchvision's classification models without their classifier.

This module does not know how images are scaled, nor what features are for.
"""

from pathlib import Path

import torch
from torch import nn

from flowerti.features.state_dicts import FIELDS, load_without_classifier

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# torchvision sets these options only with its own weights, but the same weights from a local file need them too
_ARGUMENTS = {name: {"transform_input": True, "init_weights": False} for name in ("googlenet", "inception_v3")}


def require_model(name: str) -> None:
    """Check that torchvision has a classification model of this name.

    Raises:
        ValueError: it has none.
    """
    import torchvision

    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(
            f"{name!r} ({FIELDS}) is unknown: choose efficientnet_lite0, inception, clip, dinov2, or a torchvision "
            "classification model such as resnet50"
        )


def usual_weights(name: str) -> Path:
    """The file of a model's usual weights, fetched where it is not cached.

    Raises:
        ValueError: it cannot be fetched; says from where to.
    """
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


def load_model(name: str, path: Path) -> nn.Module:
    """A model with the weights of a file: normalised images in, features out.

    Raises:
        ValueError: the model does not end in a linear layer, or the file cannot be read or does not fit.
    """
    import torchvision

    network = torchvision.models.get_model(name, weights=None, **_ARGUMENTS.get(name, {}))
    return load_without_classifier(name, network, path)
