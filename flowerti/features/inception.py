"""The Inception network of the FID, through torch-fidelity.

This module does not know how images are scaled, nor what features are for.
"""

import io
from pathlib import Path

import torch
from torch import nn

from flowerti.features.state_dicts import read_state

PACKAGES = ("torch_fidelity",)
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth, released by toshas/torch-fidelity on GitHub"
MEAN = STD = (128 / 255, 128 / 255, 128 / 255)


def load_inception(path: Path) -> nn.Module:
    """The layers up to the 2048 pooled features.

    Raises:
        ValueError: the file cannot be read, or does not hold this network.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # the extractor unpickles any file, so pass it a copy of tensors that were loaded safely
    tensors = io.BytesIO()
    torch.save(read_state(path), tensors)
    tensors.seek(0)
    try:
        extractor = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=tensors)
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"weights file {path} does not fit 'inception': use {WEIGHTS} ({error})") from error
    # its forward requires uint8 and resizes again; the layers themselves accept float images, and are registered in
    # the order in which they are applied
    layers = [layer for layer_name, layer in extractor.named_children() if layer_name != "fc"]
    return nn.Sequential(*layers, nn.Flatten(1))
