"""The frozen text-to-image model, loaded: its networks, tokenizers and noise scheduler.

Stable Diffusion 1.x and 2.x, SDXL (two text encoders), with AutoencoderKL or AutoencoderTiny. Prediction type, noise
schedule and latent scaling are read from the base's own files, which `base_files` finds and checks. This module does
not know how prompts or images are encoded (`encoding` does), nor about classes and training.
"""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError

from flowerti.base_checks.json_files import quoted, read_object
from flowerti.base_checks.noise_schedule import load_noise_schedule
from flowerti.base_checks.tokenizer_files import load_tokenizer
from flowerti.base_checks.weight_files import file_with
from flowerti.base_files import UnusableBaseError, autoencoder_class, parts_of


class NotFiniteError(ValueError):
    """What a base's networks made for a class is not finite: an error of that class."""


def require_finite(values: Float[torch.Tensor, "..."], what: str) -> None:
    """Check numbers that a base's networks made.

    Raises:
        NotFiniteError: one of them is infinite or not a number.
    """
    if not bool(torch.isfinite(values).all()):
        raise NotFiniteError(f"{what} are not finite: use base.dtype float32, or another base")


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """The loaded parts of a text-to-image model; nothing in them requires a gradient."""

    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    noise_scheduler: Any
    """A DDPMScheduler with the base's own schedule and prediction type, for training."""
    scheduler_config: dict[str, Any]
    text_encoder_2: Any = None
    """SDXL's second text encoder, a CLIPTextModelWithProjection; None in the other families."""
    tokenizer_2: Any = None
    zero_empty_prompt: bool = False
    """Whether guidance uses zeros in place of an encoded empty prompt, as SDXL's own file asks."""
    token: str = ""
    """A placeholder token that prompts may hold besides the tokenizer's words; empty for none."""
    token_rows: Float[torch.Tensor, "vectors width"] | None = None
    """Its embedding rows; of SDXL's two encoders side by side."""

    @property
    def device(self) -> torch.device:
        """Where the U-Net lies."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the U-Net."""
        return next(self.unet.parameters()).dtype

    @property
    def text_encoders(self) -> list[Any]:
        """The one text encoder, or SDXL's two."""
        return [self.text_encoder] if self.text_encoder_2 is None else [self.text_encoder, self.text_encoder_2]

    @property
    def row_widths(self) -> list[int]:
        """Width of a learnt row in each text encoder; a row holds them one after another."""
        return [encoder.get_input_embeddings().embedding_dim for encoder in self.text_encoders]

    @property
    def vocabulary_size(self) -> int:
        """Rows of the frozen embedding table; ids from here on are learnt rows."""
        return self.text_encoder.get_input_embeddings().num_embeddings

    @property
    def pixels_per_latent(self) -> int:
        """How many pixels a latent's side covers."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)


def load_base(
    folder: Path, dtype: str, device: str, *, channels_last: bool = False, compile_unet: bool = False
) -> Base:
    """Load all parts frozen and in evaluation mode.

    Args:
        folder: a base that `verify_base` accepts.
        dtype: a precision of `BaseConfig.dtype`; "auto" is bfloat16 on a GPU and float32 elsewhere.
        device: "cpu" or "cuda".
        channels_last: lay the U-Net out with channels last.
        compile_unet: compile the U-Net's repeated blocks at their first use.

    Raises:
        ValueError: a file is missing, damaged or unlike its config, or a weight is not finite; names it.
    """
    _hide_progress_bars()
    networks = _load_networks(folder, _precision(dtype, device))
    for network in networks.values():
        network.requires_grad_(False).eval().to(device)
    if channels_last:
        networks["unet"].to(memory_format=torch.channels_last)
    if compile_unet:
        networks["unet"].compile_repeated_blocks()
    schedule_file = folder / "scheduler" / "scheduler_config.json"
    index = read_object(folder / "model_index.json")
    tokenizer, is_xl = load_tokenizer(folder / "tokenizer"), "text_encoder_2" in networks
    return Base(
        **networks,
        tokenizer=tokenizer,
        tokenizer_2=_second_tokenizer(folder, tokenizer) if is_xl else None,
        noise_scheduler=load_noise_schedule(schedule_file),
        scheduler_config=read_object(schedule_file),
        zero_empty_prompt=is_xl and bool(index.get("force_zeros_for_empty_prompt", True)),
    )


def _load_networks(folder: Path, precision: torch.dtype) -> dict[str, Any]:
    """The networks by their names in `Base`; the autoencoder always in float32."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    networks = {
        "vae": _load(_autoencoder(folder), folder / "vae", torch_dtype=torch.float32),
        "text_encoder": _load(CLIPTextModel, folder / "text_encoder", dtype=precision),
        "unet": _load(UNet2DConditionModel, folder / "unet", torch_dtype=precision),
    }
    if "text_encoder_2" in parts_of(folder):
        networks["text_encoder_2"] = _load(CLIPTextModelWithProjection, folder / "text_encoder_2", dtype=precision)
    return networks


def _load(kind: Any, part: Path, **precision: torch.dtype) -> Any:
    """Load one network, all of whose tensors must be in the files and finite."""
    try:
        network, info = kind.from_pretrained(part, use_safetensors=True, output_loading_info=True, **precision)
    except (OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise UnusableBaseError(f"base.path: {part} cannot be loaded: {quoted(error)}") from error
    if info["missing_keys"]:
        name = min(info["missing_keys"])
        raise UnusableBaseError(f"base.path: {part} lacks tensors, such as {name}: fetch the whole part again")
    for name, tensor in chain(network.named_parameters(), network.named_buffers()):
        if not bool(torch.isfinite(tensor).all()):
            kept_as = str(tensor.dtype).removeprefix("torch.")
            raise UnusableBaseError(
                f"base.path: {file_with(part, name)} holds {name}, which is not finite as {kept_as}: fetch it again, "
                "or set base.dtype float32"
            )
    return network


def _precision(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.bfloat16
    return getattr(torch, dtype)


def _autoencoder(folder: Path) -> Any:
    import diffusers

    return getattr(diffusers, autoencoder_class(folder))


def _second_tokenizer(folder: Path, first: Any) -> Any:
    second = load_tokenizer(folder / "tokenizer_2")
    if second.get_vocab() != first.get_vocab():
        raise ValueError(f"base.path: the two tokenizers of {folder} have different vocabularies: not supported")
    return second


def _hide_progress_bars() -> None:
    import diffusers.utils.logging
    import transformers.utils.logging

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
