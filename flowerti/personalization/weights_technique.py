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
from flowerti.personalization.unet_weights import flattened, read_weights, replaced, weights_bytes


def weights_technique(
    names_in: Callable[[Any], list[str]],
    file: str,
    check: Callable[[Path, Any], None],
    prior: Callable[[Any], PriorConfig],
) -> Implementation[Any]:
    """An implementation for the parameters that `names_in` finds in a U-Net, in their order.

    Args:
        names_in: returns the names of the parameters that are learnt.
        file: name of the file in a class's folder.
        check: rejects a config that a base's folder cannot serve.
        prior: the part of the technique's config that is about prior preservation.
    """

    def start(
        base: Base, _data: EncodedImages, _config: ScheduleConfig, _name: str, _seed: int
    ) -> Float[Tensor, "1 parameters"]:
        return flattened(base.unet, names_in(base.unet))

    def export(base: Base, row: Float[Tensor, "1 parameters"], _name: str) -> dict[str, bytes]:
        return {file: weights_bytes(base.unet, names_in(base.unet), row)}

    @contextmanager
    def apply(base: Base, content: Content) -> Iterator[Base]:
        names = names_in(base.unet)
        with replaced(base.unet, names, read_weights(base.unet, names, content.files[file])):
            yield base

    return Implementation(
        check=check,
        start=start,
        losses=lambda base, data: _losses(base, data, names_in(base.unet)),
        export=export,
        apply=apply,
        details=lambda config: prior_details(prior(config)),
        prior=prior,
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
