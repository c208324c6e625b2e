"""The files of the frozen text-to-image model: find its folder, check that its parts are there, hash them.

Nothing is loaded here, and neither torch nor diffusers is needed; `diffusion` loads what this module finds.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from flowerti.artifacts.training_images import TRAINING_IMAGES, TrainingImages, read_training_images
from flowerti.config.experiment import BaseConfig

PARTS = ("vae", "text_encoder", "unet", "tokenizer", "scheduler")
_SECOND_PARTS = ("text_encoder_2", "tokenizer_2")
_AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
DEMO_BASE = Path(__file__).parent / "demo" / "base"
"""The base that comes with the package."""


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
    folder = resolve_folder(config) or _cached_snapshot(config)
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
    autoencoder_class(folder)
    return folder


def parts_of(folder: Path) -> tuple[str, ...]:
    """The sub-folders that make up a base: SDXL has a second text encoder and tokenizer."""
    index = read_json(folder / "model_index.json")
    return (*PARTS, *(part for part in _SECOND_PARTS if (index.get(part) or [None])[0] is not None))


def read_json(path: Path) -> dict[str, Any]:
    """The content of one of a base's JSON files.

    Raises:
        ValueError: it is missing or damaged; names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"base.path: {path} cannot be read ({error}): fetch the base again") from error
    return content


def autoencoder_class(folder: Path) -> str:
    """The class of a base's autoencoder.

    Raises:
        ValueError: it is not supported.
    """
    name = read_json(folder / "vae" / "config.json").get("_class_name", "AutoencoderKL")
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
    """The folder of a Hugging Face name, fetched where it is not on the disk."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    weights = (f"{part}/*.safetensors" for part in ("vae", "text_encoder", "text_encoder_2", "unet"))
    try:
        return Path(
            snapshot_download(
                config.path,
                revision=config.revision or None,
                allow_patterns=["*.json", "*.txt", *weights],
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


def find_training_images(config: BaseConfig, folder: Path) -> TrainingImages | None:
    """The list of what a base was trained on: the file of the config, else the one in the base's folder, else None.

    Raises:
        ValueError: the file of the config is missing, or a file is damaged; names it.
    """
    if config.training_images:
        return read_training_images(Path(config.training_images).expanduser())
    path = folder / TRAINING_IMAGES
    return read_training_images(path) if path.is_file() else None
