"""Keeps the norms of learnt rows: after each step a row is rescaled to its initial norm.

This module does not know how rows are optimised.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base
from flowerti.personalization.trainer import AfterStep


def norm_keeper(base: Base, config: TextualInversionConfig) -> AfterStep | None:
    """A function that rescales rows in place, given the rows and the initial rows; None if keep_norm is off."""
    if not config.keep_norm:
        return None
    row_widths = base.row_widths

    def restore(rows: Float[Tensor, "vectors width"], start: Float[Tensor, "vectors width"]) -> None:
        with torch.no_grad():
            # row <- row * |start| / |row|, separately for the part of each text encoder
            scales = _norms(start, row_widths) / _norms(rows, row_widths)
            widths = torch.tensor(row_widths, device=scales.device)
            rows.mul_(scales.repeat_interleave(widths, dim=1))

    return restore


def _norms(rows: Float[Tensor, "vectors width"], row_widths: list[int]) -> Float[Tensor, "vectors encoders"]:
    return torch.stack([part.norm(dim=1) for part in rows.split(row_widths, dim=1)], dim=1)
