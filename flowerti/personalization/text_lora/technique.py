"""Low-rank adaptation of the text encoders as a technique: the tensor is a single row with all matrices of an adapter.

The class's token comes first and is frozen; the U-Net stays as it is, so images can change only as far as it follows
words. The text encoders run in every step. This module does not know how steps are taken.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from flowerti.config.experiment import TextLoraConfig
from flowerti.diffusion import Base
from flowerti.personalization.denoising import Draw, EncodedImages, Losses
from flowerti.personalization.encoding import TextStates, encode_text
from flowerti.personalization.low_rank import adapted, adapter_bytes, read_adapter, start_adapter
from flowerti.personalization.prior import loss_with_prior, prior_details
from flowerti.personalization.technique import Content, Implementation
from flowerti.personalization.text_lora.layers import check_rank, text_layers

WEIGHTS = "text_lora.safetensors"
"""What diffusers' `load_lora_weights` takes as `weight_name`."""


def _check(folder: Path, config: TextLoraConfig) -> None:
    check_rank(folder, config.rank)


def _start(
    base: Base, _data: EncodedImages, config: TextLoraConfig, _class_name: str, seed: int
) -> Float[Tensor, "1 parameters"]:
    return start_adapter(text_layers(base), config.rank, seed, config.section)


def _losses(base: Base, _data: Sequence[EncodedImages]) -> Losses:
    """The loss of one class: captions with the base's token, encoded by the adapted text encoders."""
    layers = text_layers(base)

    def losses(
        base: Base, parameters: Sequence[Tensor], data: Sequence[EncodedImages], chosen: Sequence[Draw]
    ) -> list[Float[Tensor, ""]]:
        def encode(of: EncodedImages, drawn: Draw) -> TextStates:
            return encode_text(base, of.captions[drawn.captions], base.token_rows)

        with adapted(layers, parameters[0]):
            return [loss_with_prior(base, encode, data[0], chosen[0])]

    return losses


def _export(base: Base, parameters: Float[Tensor, "1 parameters"], _class_name: str) -> dict[str, bytes]:
    return {WEIGHTS: adapter_bytes(text_layers(base), parameters)}


@contextmanager
def _apply(base: Base, content: Content) -> Iterator[Base]:
    layers = text_layers(base)
    with adapted(layers, read_adapter(layers, content.files[WEIGHTS])):
        yield base


TEXT_LORA: Implementation[TextLoraConfig] = Implementation(
    check=_check,
    start=_start,
    losses=_losses,
    export=_export,
    apply=_apply,
    details=lambda config: {"rank": config.rank} | prior_details(config.prior),
    prior=lambda config: config.prior,
)
