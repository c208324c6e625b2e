"""The frozen text-to-image model: find its parts, hash them, load them once, encode prompts and pictures with it.

Parts, prediction type, noise schedule and latent scaling are read from the base's own files. Learnt rows enter the text
encoder at the embedding's output, so that the vocabulary table is never resized or touched. This module does not know
about classes, training or what the pictures are for.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from flowerti.config import BaseConfig

PARTS = ("vae", "text_encoder", "unet", "tokenizer", "scheduler")
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
    for part in PARTS:
        for pattern in _needed_files(folder / part):
            if not any((folder / part).glob(pattern)):
                raise ValueError(
                    f"base.path: {folder / part} has no {pattern} file: the base needs the parts {', '.join(PARTS)} "
                    "(weights as safetensors)"
                )
    return folder


def _needed_files(part: Path) -> tuple[str, ...]:
    if part.name == "scheduler":
        return ("scheduler_config.json",)
    if part.name == "tokenizer":
        return ("merges.txt",) if (part / "vocab.json").is_file() else ("tokenizer.json",)
    return ("config.json", "*.safetensors")


def _cached_snapshot(config: BaseConfig) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        patterns = ["*.json", "*.txt", *(f"{part}/*.safetensors" for part in ("vae", "text_encoder", "unet"))]
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
    files = [p for part in PARTS for p in sorted((folder / part).iterdir()) if p.is_file()]
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

    @property
    def device(self) -> torch.device:
        """Where the U-Net lies."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the U-Net."""
        return next(self.unet.parameters()).dtype

    @property
    def vocabulary_size(self) -> int:
        """Rows of the frozen embedding table; ids from here on are learnt rows."""
        return self.text_encoder.get_input_embeddings().num_embeddings


def load_base(folder: Path, dtype: str, device: str) -> Base:
    """Load all parts frozen and in evaluation mode."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    _hide_progress_bars()
    precision = getattr(torch, dtype)
    parts = {
        "vae": AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32, use_safetensors=True),
        "text_encoder": CLIPTextModel.from_pretrained(
            folder, subfolder="text_encoder", dtype=precision, use_safetensors=True
        ),
        "unet": UNet2DConditionModel.from_pretrained(
            folder, subfolder="unet", torch_dtype=precision, use_safetensors=True
        ),
    }
    for part in parts.values():
        part.requires_grad_(False).eval().to(device)
    scheduler_config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    return Base(
        **parts,
        tokenizer=CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer"),
        noise_scheduler=DDPMScheduler.from_config(scheduler_config),
        scheduler_config=scheduler_config,
    )


def _hide_progress_bars() -> None:
    import diffusers.utils.logging
    import transformers.utils.logging

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def placeholder_tokens(token: str, num_vectors: int) -> list[str]:
    """The words that stand for a token's rows, as diffusers names them: token, token_1, token_2, ..."""
    return [token, *(f"{token}_{i}" for i in range(1, num_vectors))]


def tokenise(base: Base, prompts: list[str], token: str = "", num_vectors: int = 0) -> Int64[Tensor, "num length"]:
    """Turn prompts into ids; each occurrence of `token` becomes ids vocabulary_size, vocabulary_size + 1, ...

    Raises:
        ValueError: the token already is a word of the base, or a prompt is too long for the text encoder.
    """
    import copy

    tokenizer = base.tokenizer
    if num_vectors:
        words = placeholder_tokens(token, num_vectors)
        tokenizer = copy.deepcopy(tokenizer)
        if not set(words).isdisjoint(tokenizer.get_vocab()):
            raise ValueError(f"token {token!r} exists already in the base's vocabulary: choose another")
        tokenizer.add_tokens(words)
        prompts = [prompt.replace(token, " ".join(words)) for prompt in prompts]
    max_length = tokenizer.model_max_length
    ids = tokenizer(prompts, padding="max_length", max_length=max_length).input_ids
    for prompt, row in zip(prompts, ids, strict=True):
        if len(row) > max_length:
            raise ValueError(f"prompt {prompt!r} has {len(row)} tokens: the text encoder takes {max_length}")
    ids = torch.tensor(ids, dtype=torch.int64)
    if num_vectors:
        ids = _renumber(ids, tokenizer.convert_tokens_to_ids(words), base.vocabulary_size)
    return ids.to(base.device)


def _renumber(ids: Int64[Tensor, "num length"], word_ids: list[int], first: int) -> Int64[Tensor, "num length"]:
    renumbered = ids.clone()
    for offset, word_id in enumerate(word_ids):
        renumbered[ids == word_id] = first + offset
    return renumbered


def encode_prompts(
    base: Base, ids: Int64[Tensor, "num length"], rows: Float[Tensor, "vectors width"] | None = None
) -> Float[Tensor, "num length width"]:
    """Run the text encoder; ids beyond the vocabulary take learnt rows, through which gradients flow.

    The row replaces the embedding's output, which gives the same states as a table enlarged by these rows.
    """
    if rows is None:
        return base.text_encoder(ids)[0]
    is_row = ids >= base.vocabulary_size
    positions = (ids - base.vocabulary_size).clamp(min=0)

    def insert_rows(_module: Any, _inputs: Any, embedded: Tensor) -> Tensor:
        # not rows[positions]: its gradient is summed by several threads in no fixed order
        inserted = torch.nn.functional.embedding(positions, rows).to(embedded.dtype)
        return torch.where(is_row[..., None], inserted, embedded)

    handle = base.text_encoder.get_input_embeddings().register_forward_hook(insert_rows)
    try:
        return base.text_encoder(ids.masked_fill(is_row, 0))[0]
    finally:
        handle.remove()


@torch.no_grad()
def encode_pictures(
    base: Base, pictures: UInt8[Tensor, "num height width 3"], batch_size: int = 8
) -> tuple[Float[Tensor, "num channels h w"], Float[Tensor, "num channels h w"]]:
    """Mean and standard deviation of the scaled latents' posterior; float32, on the base's device."""
    means, deviations = [], []
    for batch in pictures.split(batch_size):
        scaled = batch.to(base.device).permute(0, 3, 1, 2).to(base.vae.dtype) / 127.5 - 1
        posterior = base.vae.encode(scaled).latent_dist
        means.append(posterior.mean * base.vae.config.scaling_factor)
        deviations.append(posterior.std * base.vae.config.scaling_factor)
    return torch.cat(means), torch.cat(deviations)


def word_id(base: Base, word: str) -> int:
    """The id of a word that is one token of the base's vocabulary.

    Raises:
        ValueError: the word is not exactly one token; says which pieces it falls into.
    """
    ids = base.tokenizer(word, add_special_tokens=False).input_ids
    if len(ids) != 1:
        pieces = base.tokenizer.convert_ids_to_tokens(ids)
        raise ValueError(
            f"inversion.initializer_token: {word!r} is {len(ids)} tokens in this base ({' '.join(pieces)}): "
            "choose a word that is one token"
        )
    return ids[0]
