"""Low-rank adaptation as a technique: the tensor is a single row with all matrices of an adapter of the U-Net.

The token is trained first and then frozen (pivotal tuning: Roich et al. 2021, arXiv 2106.05744, section 3), so every
caption is encoded once, and a step runs only the U-Net. An adapter of one class and one that classes share differ in
nothing but the images and captions. This module does not know how steps are taken.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.config.experiment import LoraConfig, SharedLoraConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import Draw, EncodedImages, Losses, prediction_losses
from flowerti.personalization.encoding import encode_text, joined
from flowerti.personalization.lora.layers import check_rank, unet_layers
from flowerti.personalization.low_rank import adapted, adapter_bytes, read_adapter, start_adapter
from flowerti.personalization.technique import Content, Implementation

WEIGHTS = "pytorch_lora_weights.safetensors"
"""What diffusers' `load_lora_weights` looks for."""

AdapterConfig = LoraConfig | SharedLoraConfig


def _check(folder: Path, config: AdapterConfig) -> None:
    check_rank(folder, config.rank, config.section)


def _start(
    base: Base, _data: EncodedImages, config: AdapterConfig, _class_name: str, seed: int
) -> Float[Tensor, "1 parameters"]:
    return start_adapter(unet_layers(base.unet), config.rank, seed, config.section)


def adapter_losses(base: Base, data: Sequence[EncodedImages]) -> Losses:
    """The loss of one class, or of all together: the U-Net with the adapter, and captions with the base's rows."""
    (images,) = data
    with torch.no_grad():
        # class by class: the states of a class then have the same bits whichever others are there
        of_classes = images.captions.split(images.num_captions)
        states = joined([encode_text(base, ids, base.token_rows) for ids in of_classes])

    def losses(
        base: Base, parameters: Sequence[Tensor], data: Sequence[EncodedImages], chosen: Sequence[Draw]
    ) -> list[Float[Tensor, ""]]:
        (of_class,), (draw,) = parameters, chosen
        with adapted(unet_layers(base.unet), of_class):
            return prediction_losses(base, states.at(draw.captions), data, chosen)

    return losses


def _export(base: Base, parameters: Float[Tensor, "1 parameters"], _class_name: str) -> dict[str, bytes]:
    return {WEIGHTS: adapter_bytes(unet_layers(base.unet), parameters)}


@contextmanager
def _apply(base: Base, content: Content) -> Iterator[Base]:
    layers = unet_layers(base.unet)
    with adapted(layers, read_adapter(layers, content.files[WEIGHTS])):
        yield base


LORA: Implementation[AdapterConfig] = Implementation(
    check=_check,
    start=_start,
    losses=adapter_losses,
    export=_export,
    apply=_apply,
    details=lambda config: {"rank": config.rank},
)
