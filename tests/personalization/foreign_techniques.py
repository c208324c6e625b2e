"""Two techniques that the package has never heard of: a bias of the text states, and factors of cross attention."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load, save

from flowerti.config.checks import require
from flowerti.config.experiment import (
    ScheduleConfig,
)
from flowerti.diffusion import Base
from flowerti.personalization.denoising import Draw, EncodedImages, Losses, prediction_losses
from flowerti.personalization.encoding import TextStates, encode_text
from flowerti.personalization.technique import Content, Implementation


@dataclass(frozen=True, kw_only=True, slots=True)
class BiasConfig(ScheduleConfig):
    section: ClassVar[str] = "state_bias"

    learning_rate: float = 0.1
    largest: float = 10.0
    """A setting that no other technique has."""

    def __post_init__(self) -> None:
        ScheduleConfig.__post_init__(self)
        require(self.largest > 0, f"{self.section}.largest", "must be positive")


def _check_bias(folder: Path, config: BiasConfig) -> None:
    if (folder / "text_encoder_2").exists():
        raise ValueError("state_bias: needs a base with one text encoder")


def _bias_start(base: Base, _data: EncodedImages, _config: BiasConfig, _name: str, seed: int) -> torch.Tensor:
    return 1e-3 * torch.randn(1, sum(base.row_widths), generator=torch.Generator().manual_seed(seed))


def _bias_losses(_base: Base, _data: Sequence[EncodedImages]) -> Losses:
    """Of all classes of a batch at once."""

    def losses(
        base: Base, biases: Sequence[torch.Tensor], data: Sequence[EncodedImages], chosen: Sequence[Draw]
    ) -> list[torch.Tensor]:
        ids = torch.cat([d.captions[c.captions] for d, c in zip(data, chosen, strict=True)])
        hidden = encode_text(base, ids).hidden
        added = torch.cat([bias.expand(len(c.views), -1) for bias, c in zip(biases, chosen, strict=True)])
        return prediction_losses(base, TextStates(hidden=hidden + added[:, None], pooled=None), data, chosen)

    return losses


@contextmanager
def _apply_bias(base: Base, content: Content) -> Iterator[Base]:
    bias = load(content.files["bias.safetensors"])["bias"]

    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state + bias
        return output

    handle = base.text_encoder.register_forward_hook(add)
    try:
        yield base
    finally:
        handle.remove()


def _clipper(_base: Base, config: BiasConfig) -> Callable[[torch.Tensor, torch.Tensor], None]:
    def clip(learnt: torch.Tensor, start: torch.Tensor) -> None:
        assert start.shape == learnt.shape, "it asked for the start by having something after each step"
        with torch.no_grad():
            learnt.clamp_(-config.largest, config.largest)

    return clip


STATE_BIAS: Implementation[BiasConfig] = Implementation(
    check=_check_bias,
    start=_bias_start,
    losses=_bias_losses,
    export=lambda base, learnt, name: {"bias.safetensors": save({"bias": learnt})},
    apply=_apply_bias,
    after_step=_clipper,
    details=lambda config: {"largest": config.largest},
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleConfig(ScheduleConfig):
    section: ClassVar[str] = "attention_scale"

    learning_rate: float = 0.1


@contextmanager
def _scaled(unet: Any, logs: torch.Tensor) -> Iterator[None]:
    """Every cross attention's output times e^x, with one x for each."""
    layers = [module for name, module in unet.named_modules() if name.endswith("attn2")]
    handles = [
        layer.register_forward_hook(lambda _module, _inputs, output, i=i: output * logs[0, i].exp())
        for i, layer in enumerate(layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _scale_start(base: Base, _data: EncodedImages, _config: ScaleConfig, _name: str, _seed: int) -> torch.Tensor:
    return torch.zeros(1, sum(name.endswith("attn2") for name, _ in base.unet.named_modules()))


def _scale_losses(base: Base, data: Sequence[EncodedImages]) -> Losses:
    def losses(
        base: Base, logs: Sequence[torch.Tensor], data: Sequence[EncodedImages], chosen: Sequence[Draw]
    ) -> list[torch.Tensor]:
        states = encode_text(base, data[0].captions[chosen[0].captions], base.token_rows)
        with _scaled(base.unet, logs[0]):
            return prediction_losses(base, states, data, chosen)

    return losses


@contextmanager
def _apply_scale(base: Base, content: Content) -> Iterator[Base]:
    with _scaled(base.unet, load(content.files["scale.safetensors"])["scale"]):
        yield base


ATTENTION_SCALE: Implementation[ScaleConfig] = Implementation(
    check=lambda folder, config: None,
    start=_scale_start,
    losses=_scale_losses,
    export=lambda base, learnt, name: {"scale.safetensors": save({"scale": learnt})},
    apply=_apply_scale,
)
