"""A small convolutional network for images of about 64 px, to be trained from random weights.

Four stages halve the side and double the channels, the last three with a residual block (He et al. 2016, section 3.3);
group normalisation (Wu and He 2018) treats each image by itself, so that an image's gradient is independent of the rest
of its batch. It stands where a pretrained backbone does. This module does not know what it is trained for.
"""

import copy
import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowerti.features.backbones import Backbone

WIDTHS = (24, 48, 96, 192)
"""Channels of each stage."""
_GROUPS = 8
_LEVELS = (0.5, 0.5, 0.5)
"""Images in [0, 1] become [-1, 1]."""


class _Residual(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), at one width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, width) for _ in range(2))
        self.convolutions = nn.ModuleList(_convolution(width, width, stride=1) for _ in range(2))

    def forward(self, images: Float[Tensor, "num width h w"]) -> Float[Tensor, "num width h w"]:
        """Features of the same shape."""
        found = images
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            found = convolution(nn.functional.relu(norm(found)))
        return images + found


class SmallNetwork(nn.Module):
    """Images [num, 3, height, width] -> features [num, 192]."""

    def __init__(self) -> None:
        super().__init__()
        self.halvings = nn.ModuleList(
            _convolution(before, width, stride=2) for before, width in zip((3, *WIDTHS), WIDTHS, strict=False)
        )
        self.residuals = nn.ModuleList([nn.Identity(), *(_Residual(width) for width in WIDTHS[1:])])
        self.norm = nn.GroupNorm(_GROUPS, WIDTHS[-1])

    def forward(self, images: Float[Tensor, "num 3 height width"]) -> Float[Tensor, "num dim"]:
        """The mean over all places of the last stage."""
        # on a CPU, channels last are about half as fast again as channels first
        found = images.contiguous(memory_format=torch.channels_last)
        for halving, residual in zip(self.halvings, self.residuals, strict=True):
            found = residual(nn.functional.relu(halving(found)))
        return nn.functional.relu(self.norm(found)).mean(dim=(2, 3))


def _convolution(num_in: int, num_out: int, stride: int) -> nn.Conv2d:
    # weights are drawn later, from a seed; the usual start would draw them from the global generator
    made = nn.utils.skip_init(nn.Conv2d, num_in, num_out, 3, stride=stride, padding=1)
    assert isinstance(made, nn.Conv2d)
    return made


def new_network(input_size_px: int, seed: int = 0) -> Backbone:
    """The network with random weights, frozen like any backbone.

    Args:
        input_size_px: side of the square that it sees, at least 16.
        seed: of its weights.
    """
    module = SmallNetwork().to(memory_format=torch.channels_last).eval().requires_grad_(False)
    backbone = Backbone(
        name="small_network",
        module=module,
        dim=WIDTHS[-1],
        mean=_LEVELS,
        std=_LEVELS,
        weights_sha256="",
        input_size_px=input_size_px,
    )
    return redrawn(backbone, seed)


def redrawn(backbone: Backbone, seed: int) -> Backbone:
    """A copy on the same device whose weights are drawn anew.

    Source: He et al. 2015, eq. 10: normal with variance 2 / fan-in. Biases are 0, and so is the last convolution of
    each residual block, which then begins as the identity (Zhang et al. 2019, Fixup).
    """
    module, generator = copy.deepcopy(backbone.module), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                # drawn on the CPU in one order: the same on every device and in every memory format
                drawn = torch.randn(part.weight.shape, generator=generator)
                part.weight.copy_(drawn * math.sqrt(2 / part.weight[0].numel()))
                nn.init.zeros_(_there(part.bias))
            elif isinstance(part, nn.GroupNorm):
                part.reset_parameters()
        for part in module.modules():
            if isinstance(part, _Residual):
                last = part.convolutions[-1]
                assert isinstance(last, nn.Conv2d)
                nn.init.zeros_(last.weight)
    return replace(backbone, module=module)


def _there(bias: Tensor | None) -> Tensor:
    assert bias is not None
    return bias
