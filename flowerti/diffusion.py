"""The frozen text-to-image model, loaded: its networks, tokenizers and noise scheduler.

Stable Diffusion 1.x and 2.x, SDXL (two text encoders), with AutoencoderKL or AutoencoderTiny. Prediction type, noise
schedule and latent scaling are read from the base's own files, which `base_files` finds and checks. This module does
not know how prompts or images are encoded (`encoding` does), nor about classes and training.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float

from flowerti.base_files import autoencoder_class, parts_of, read_json


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
    """
    from diffusers import DDPMScheduler
    from transformers import CLIPTokenizer

    _hide_progress_bars()
    networks = _load_networks(folder, _precision(dtype, device))
    for network in networks.values():
        network.requires_grad_(False).eval().to(device)
    if channels_last:
        networks["unet"].to(memory_format=torch.channels_last)
    if compile_unet:
        networks["unet"].compile_repeated_blocks()
    scheduler_config = read_json(folder / "scheduler" / "scheduler_config.json")
    index = read_json(folder / "model_index.json")
    tokenizer, is_xl = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer"), "text_encoder_2" in networks
    return Base(
        **networks,
        tokenizer=tokenizer,
        tokenizer_2=_second_tokenizer(folder, tokenizer) if is_xl else None,
        noise_scheduler=DDPMScheduler.from_config(scheduler_config),
        scheduler_config=scheduler_config,
        zero_empty_prompt=is_xl and bool(index.get("force_zeros_for_empty_prompt", True)),
    )


def _load_networks(folder: Path, precision: torch.dtype) -> dict[str, Any]:
    """The networks by their names in `Base`; the autoencoder always in float32."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    networks: dict[str, Any] = {
        "vae": _load_autoencoder(folder),
        "text_encoder": CLIPTextModel.from_pretrained(
            folder, subfolder="text_encoder", dtype=precision, use_safetensors=True
        ),
        "unet": UNet2DConditionModel.from_pretrained(
            folder, subfolder="unet", torch_dtype=precision, use_safetensors=True
        ),
    }
    if "text_encoder_2" in parts_of(folder):
        networks["text_encoder_2"] = CLIPTextModelWithProjection.from_pretrained(
            folder, subfolder="text_encoder_2", dtype=precision, use_safetensors=True
        )
    return networks


def _precision(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.bfloat16
    return getattr(torch, dtype)


def _load_autoencoder(folder: Path) -> Any:
    import diffusers

    kind = getattr(diffusers, autoencoder_class(folder))
    return kind.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32, use_safetensors=True)


def _second_tokenizer(folder: Path, first: Any) -> Any:
    from transformers import CLIPTokenizer

    second = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer_2")
    if second.get_vocab() != first.get_vocab():
        raise ValueError(f"base.path: the two tokenizers of {folder} have different vocabularies: not supported")
    return second


def _hide_progress_bars() -> None:
    import diffusers.utils.logging
    import transformers.utils.logging

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
