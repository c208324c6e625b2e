"""A discriminator of generated and true images on features of a frozen network, per position of several blocks.

A projected discriminator (Sauer et al. 2021, arXiv:2111.01007) without its random mixing, under the hinge loss (Lim and
Ye 2017, arXiv:1705.02894). This module does not know which network the features come from.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_WIDTH = 48


class FeatureDiscriminator(nn.Module):
    """One small head for the features of each block, applied to every position separately.

    Args:
        widths: channels of each block's features, whose vectors have length 1 at every position.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.scales = [width**0.5 for width in widths]  # scale the entries of unit vectors to a std of about 1
        self.heads = nn.ModuleList(_head(width) for width in widths)

    def forward(self, features: Sequence[Float[Tensor, "num _ _ _"]]) -> list[Float[Tensor, "num 1 _ _"]]:
        """Logits: positive for true images, negative for generated ones."""
        return [head(found * scale) for head, found, scale in zip(self.heads, features, self.scales, strict=True)]


def _head(width: int) -> nn.Module:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(width, _WIDTH, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(_WIDTH, 1, 1)),
    )


def discriminator_loss(true: Sequence[Tensor], drawn: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Hinge loss: zero once true logits lie above 1 and drawn ones below -1; mean over blocks."""
    losses = [torch.relu(1.0 - a).mean() + torch.relu(1.0 + b).mean() for a, b in zip(true, drawn, strict=True)]
    return torch.stack(losses).mean()


def generator_loss(drawn: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Generator loss: the negative mean logit; mean over blocks."""
    return -torch.stack([logits.mean() for logits in drawn]).mean()
