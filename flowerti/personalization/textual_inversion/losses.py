"""The loss of Textual Inversion (Gal et al. 2022, arXiv 2208.01618, eq. 2): denoising with learnt rows in the captions.

Rows of several classes are trained in one batch. This module does not know how rows are initialised or optimised.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.diffusion import Base
from flowerti.personalization.denoising import Draw, EncodedImages, prediction_losses
from flowerti.personalization.encoding import encode_text, with_rows_from


def denoising_losses(
    base: Base, rows: Sequence[Tensor], data: Sequence[EncodedImages], chosen: Sequence[Draw]
) -> list[Float[Tensor, ""]]:
    """Mean squared error of the base's prediction for each class, from one batch over all of them.

    Args:
        base: the frozen networks.
        rows: learnt rows of each class, [vectors, width], as many vectors each.
        data: what each class's draw chose from.
        chosen: the random choices of each class.

    Raises:
        ValueError: the base predicts something else than noise, velocity or the latents themselves.
    """
    # each class's captions contain the ids of the first rows: shift those of class i to its own rows
    ids = torch.cat(
        [
            with_rows_from(d.captions[c.captions], base.vocabulary_size, i * len(rows[0]))
            for i, (d, c) in enumerate(zip(data, chosen, strict=True))
        ]
    )
    return prediction_losses(base, encode_text(base, ids, torch.cat(list(rows))), data, chosen)


def denoising_loss(
    base: Base, rows: Float[Tensor, "vectors width"], data: EncodedImages, chosen: Draw
) -> Float[Tensor, ""]:
    """The loss of one class alone."""
    return denoising_losses(base, [rows], [data], [chosen])[0]
