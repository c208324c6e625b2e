"""The frozen text-to-image model: find its parts, hash them, load them once.

Stable Diffusion 1.x and 2.x, SDXL (two text encoders), with AutoencoderKL or AutoencoderTiny. Parts, prediction type,
noise schedule and latent scaling are read from the base's own files. This module does not know how prompts or images
are encoded (`encoding` does), nor about classes and training.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float

from flowerti.config.experiment import BaseConfig

PARTS = ("vae", "text_encoder", "unet", "tokenizer", "scheduler")
_SECOND_PARTS = ("text_encoder_2", "tokenizer_2")
_AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
DEMO_BASE = Path(__file__).parent / "demo" / "base"


def resolve_folder(config: BaseConfig) -> Path | None:
    """The local folder of a base; None where the path is a Hugging Face name and no folder of that name exists."""
    if config.path == "demo":
        return DEMO_BASE
    folder = Path(config.path).expanduser()
    looks_local = config.path.startswith((".", "/", "~")) or config.path.count("/") != 1
    return folder.resolve() if folder.exists() or looks_local else None


def verify_base(config: BaseConfig) -> Path:
    """Check that every part of the base is there, without loading it, and return its folder.

    Raises:
        ValueError: the folder or a part is missing; says which and how to fetch it.
    """
    folder = resolve_folder(config)
    if folder is None:
        folder = _cached_snapshot(config)
    if not folder.is_dir():
        raise ValueError(f"base.path: {folder} is not a folder: name one in Stable Diffusion's layout")
    if not (folder / "model_index.json").is_file():
        raise ValueError(f"base.path: {folder} has no model_index.json: it is not a diffusers pipeline")
    parts = parts_of(folder)
    for part in parts:
        for pattern in _needed_files(folder / part):
            if not any((folder / part).glob(pattern)):
                raise ValueError(
                    f"base.path: {folder / part} has no {pattern} file: the base needs the parts {', '.join(parts)} "
                    "(weights as safetensors)"
                )
    _autoencoder_class(folder)
    return folder


def parts_of(folder: Path) -> tuple[str, ...]:
    """The sub-folders that make up a base: SDXL has a second text encoder and tokenizer."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return (*PARTS, *(part for part in _SECOND_PARTS if index.get(part, [None])[0] is not None))


def _autoencoder_class(folder: Path) -> str:
    name = json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8")).get("_class_name", "AutoencoderKL")
    if name not in _AUTOENCODERS:
        raise ValueError(
            f"base.path: {folder / 'vae'} is of class {name}, which is not supported: use a base with "
            f"{' or '.join(_AUTOENCODERS)}"
        )
    return name


def _needed_files(part: Path) -> tuple[str, ...]:
    if part.name == "scheduler":
        return ("scheduler_config.json",)
    if part.name.startswith("tokenizer"):
        return ("merges.txt",) if (part / "vocab.json").is_file() else ("tokenizer.json",)
    return ("config.json", "*.safetensors")


def _cached_snapshot(config: BaseConfig) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        patterns = [
            "*.json",
            "*.txt",
            *(f"{part}/*.safetensors" for part in ("vae", "text_encoder", "text_encoder_2", "unet")),
        ]
        return Path(
            snapshot_download(
                config.path,
                revision=config.revision or None,
                allow_patterns=patterns,
                ignore_patterns=["*.fp16.safetensors", "*non_ema*", "safety_checker/*"],
                etag_timeout=5,
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise ValueError(
            f"base.path: {config.path} is neither a folder nor a model that can be fetched "
            f"({type(error).__name__}): download it with `hf download {config.path}`, or set base.path to a "
            "local folder in Stable Diffusion's layout"
        ) from error


def hash_base(folder: Path) -> str:
    """SHA-256 over the weights and configs of all parts, in the order of their names."""
    digest = hashlib.sha256()
    files = [p for part in parts_of(folder) for p in sorted((folder / part).iterdir()) if p.is_file()]
    for path in files:
        if path.suffix in (".safetensors", ".json", ".txt"):
            digest.update(f"{path.parent.name}/{path.name}\0".encode())
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


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
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    _hide_progress_bars()
    precision = _precision(dtype, device)
    second = "text_encoder_2" in parts_of(folder)
    parts: dict[str, Any] = {
        "vae": _load_autoencoder(folder),
        "text_encoder": CLIPTextModel.from_pretrained(
            folder, subfolder="text_encoder", dtype=precision, use_safetensors=True
        ),
        "unet": UNet2DConditionModel.from_pretrained(
            folder, subfolder="unet", torch_dtype=precision, use_safetensors=True
        ),
    }
    if second:
        parts["text_encoder_2"] = CLIPTextModelWithProjection.from_pretrained(
            folder, subfolder="text_encoder_2", dtype=precision, use_safetensors=True
        )
    for part in parts.values():
        part.requires_grad_(False).eval().to(device)
    if channels_last:
        parts["unet"].to(memory_format=torch.channels_last)
    if compile_unet:
        parts["unet"].compile_repeated_blocks()
    scheduler_config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    return Base(
        **parts,
        tokenizer=tokenizer,
        tokenizer_2=_second_tokenizer(folder, tokenizer) if second else None,
        noise_scheduler=DDPMScheduler.from_config(scheduler_config),
        scheduler_config=scheduler_config,
        zero_empty_prompt=second and bool(index.get("force_zeros_for_empty_prompt", True)),
    )


def _precision(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.bfloat16
    return getattr(torch, dtype)


def _load_autoencoder(folder: Path) -> Any:
    import diffusers

    kind = getattr(diffusers, _autoencoder_class(folder))
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
