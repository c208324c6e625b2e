"""Keep the lengths of learnt rows: after each step a row is scaled back to the length that it started with.

This module does not know how rows are moved.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.config.experiment import TextualInversionConfig
from flowerti.diffusion import Base
from flowerti.personalization.trainer import AfterStep


def norm_keeper(base: Base, config: TextualInversionConfig) -> AfterStep | None:
    """What scales rows back in place, given them and the rows at the start; None where the config does not ask."""
    if not config.keep_norm:
        return None
    row_widths = base.row_widths

    def restore(rows: Float[Tensor, "vectors width"], start: Float[Tensor, "vectors width"]) -> None:
        with torch.no_grad():
            # row := row * |start| / |row|, for each text encoder's part on its own
            scales = _norms(start, row_widths) / _norms(rows, row_widths)
            widths = torch.tensor(row_widths, device=scales.device)
            rows.mul_(scales.repeat_interleave(widths, dim=1))

    return restore


def _norms(rows: Float[Tensor, "vectors width"], row_widths: list[int]) -> Float[Tensor, "vectors encoders"]:
    return torch.stack([part.norm(dim=1) for part in rows.split(row_widths, dim=1)], dim=1)
