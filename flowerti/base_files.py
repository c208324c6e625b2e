"""The files of the frozen text-to-image model: find its folder, check that its parts are there, hash them.

Nothing is loaded here, and neither torch nor diffusers is needed; `diffusion` loads what this module finds.
"""

import hashlib
from pathlib import Path

from flowerti.artifacts.training_images import TRAINING_IMAGES, TrainingImages, read_training_images
from flowerti.base_checks.json_files import read_object
from flowerti.base_checks.part_configs import check_configs, check_pipeline, text_settings
from flowerti.base_checks.tokenizer_files import check_tokenizer
from flowerti.base_checks.weight_files import stored_tensors
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


class UnusableBaseError(ValueError):
    """A base that a worker cannot use, which ends the run: to try again would not help."""


def verify_base(config: BaseConfig) -> Path:
    """Check the files of a base as far as that takes neither torch nor diffusers, and return its folder.

    Raises:
        ValueError: the folder or a part is missing, of a kind that is not supported, cut short or damaged, or parts do
            not fit one another; names file or field and says what to do.
    """
    folder = resolve_folder(config) or _cached_snapshot(config)
    if not folder.is_dir():
        raise ValueError(f"base.path: {folder} is not a folder: name one in Stable Diffusion's layout")
    check_pipeline(folder)
    parts = parts_of(folder)
    for part in parts:
        for name in _needed_files(folder / part):
            if not (folder / part / name).is_file():
                raise ValueError(
                    f"base.path: {folder / part} has no {name} file: the base needs the parts {', '.join(parts)} "
                    "(weights as safetensors)"
                )
    autoencoder_class(folder)
    check_configs(folder, parts)
    texts = text_settings(folder, parts)
    num_rows, max_length = (min(one.count(name) for one in texts) for name in ("vocab_size", "max_position_embeddings"))
    for part in parts:
        if part.startswith("tokenizer"):
            check_tokenizer(folder / part, num_rows, max_length)
        elif part != "scheduler":
            stored_tensors(folder / part)
    return folder


def parts_of(folder: Path) -> tuple[str, ...]:
    """The sub-folders that make up a base: SDXL has a second text encoder and tokenizer."""
    index = read_object(folder / "model_index.json")
    # a pipeline without a part says [null, null]
    return (*PARTS, *(part for part in _SECOND_PARTS if index.get(part) not in (None, [], [None, None])))


def autoencoder_class(folder: Path) -> str:
    """The class of a base's autoencoder.

    Raises:
        ValueError: it is not supported.
    """
    name = read_object(folder / "vae" / "config.json").get("_class_name", "AutoencoderKL")
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
    return ("config.json",)


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
