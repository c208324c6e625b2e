"""Builds a technique that learns some of the U-Net's weights whole, on top of a frozen token.

Every caption is encoded once, as the text encoder is frozen. A prior is kept where the settings ask for one. This
module does not know which weights a technique learns or how steps are taken.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from flowerti.config.experiment import ScheduleConfig
from flowerti.config.prior import PriorConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import Draw, EncodedImages, Losses
from flowerti.personalization.prior import frozen_captions, loss_with_prior, prior_details
from flowerti.personalization.technique import Content, Implementation
from flowerti.personalization.unet_weights import (
    Learns,
    flattened,
    names_in,
    num_bytes_in,
    read_weights,
    replaced,
    weights_bytes,
)


def weights_technique(learns: Learns, file: str, prior: Callable[[Any], PriorConfig]) -> Implementation[Any]:
    """An implementation that learns some of a U-Net's parameters.

    Args:
        learns: says which.
        file: name of the file in a class's folder.
        prior: returns the part of the technique's config that is about prior preservation.
    """

    def check(folder: Path, config: ScheduleConfig) -> None:
        if not num_bytes_in(folder, learns):
            raise ValueError(
                f"{config.section}: the U-Net of {folder} has none of the layers that it learns: use another technique"
            )

    def start(
        base: Base, _data: EncodedImages, _config: ScheduleConfig, _name: str, _seed: int
    ) -> Float[Tensor, "1 parameters"]:
        return flattened(base.unet, names_in(base.unet, learns))

    def export(base: Base, row: Float[Tensor, "1 parameters"], _name: str) -> dict[str, bytes]:
        return {file: weights_bytes(base.unet, names_in(base.unet, learns), row)}

    @contextmanager
    def apply(base: Base, content: Content) -> Iterator[Base]:
        names = names_in(base.unet, learns)
        with replaced(base.unet, names, read_weights(base.unet, names, content.files[file])):
            yield base

    return Implementation(
        check=check,
        start=start,
        losses=lambda base, data: _losses(base, data, names_in(base.unet, learns)),
        export=export,
        apply=apply,
        details=lambda config: prior_details(prior(config)),
        prior=prior,
        num_bytes=lambda folder: num_bytes_in(folder, learns),
    )


def _losses(base: Base, data: Sequence[EncodedImages], names: list[str]) -> Losses:
    """The loss of one class: the U-Net with the learnt weights, and captions with the base's token."""
    (images,) = data
    encode = frozen_captions(base, images)

    def losses(
        base: Base, rows: Sequence[Tensor], data: Sequence[EncodedImages], chosen: Sequence[Draw]
    ) -> list[Float[Tensor, ""]]:
        with replaced(base.unet, names, rows[0]):
            return [loss_with_prior(base, encode, data[0], chosen[0])]

    return losses
