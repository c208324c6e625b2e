"""CLIP and DINOv2 as feature extractors, through transformers: from a local folder or a Hugging Face name.

Only safetensors weights are loaded. A name is resolved to cached files or downloaded once; `verify` needs only the
folder. This module does not know how images are scaled, nor what features are for.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

NAMES = ("clip", "dinov2")
_HUB_NAMES = {"clip": "openai/clip-vit-large-patch14", "dinov2": "facebook/dinov2-base"}
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_NEEDED = ("config.json", "model.safetensors")


class _ClipImages(nn.Module):
    """The vision tower of CLIP with its projection."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        whole = _load_whole("clip", folder)
        self.tower, self.projection = whole.vision_model, whole.visual_projection

    def forward(self, images: Float[Tensor, "num 3 size size"]) -> Float[Tensor, "num dim"]:
        """Projected image embeddings, before normalisation to unit length."""
        return self.projection(self.tower(pixel_values=images).pooler_output)


class _DinoImages(nn.Module):
    """DINOv2 up to its class token."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.network = _load_whole("dinov2", folder)

    def forward(self, images: Float[Tensor, "num 3 size size"]) -> Float[Tensor, "num dim"]:
        """The normalised class token."""
        return self.network(pixel_values=images).pooler_output


def _load_whole(name: str, folder: Path) -> Any:
    from transformers import CLIPModel, Dinov2Model

    kind: Any = CLIPModel if name == "clip" else Dinov2Model
    try:
        network, found = kind.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"scoring.weights: {folder} does not hold a {name!r} network ({error})") from error
    # transformers initialises missing tensors at random and only warns
    lacking = [*found["missing_keys"], *found["mismatched_keys"]]
    if lacking:
        raise ValueError(
            f"scoring.weights: {folder} does not hold a {name!r} network: {len(lacking)} of its tensors are missing "
            f"or of another shape, {lacking[0]} among them"
        )
    return network


def folder_of(name: str, weights: str) -> Path:
    """The folder with config and weights of "clip" or "dinov2".

    Args:
        name: one of `NAMES`.
        weights: a local folder; empty for the usual Hugging Face model.

    Raises:
        ValueError: a file is missing, or the model cannot be fetched; names it and says what to do.
    """
    folder = Path(weights) if weights else _snapshot(name)
    for file in _NEEDED:
        if not (folder / file).is_file():
            raise ValueError(
                f"scoring.weights: {folder} of {name!r} has no {file}: name a folder that transformers' "
                "save_pretrained wrote (weights as safetensors)"
            )
    return folder


def _snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    model = _HUB_NAMES[name]
    try:
        return Path(snapshot_download(model, allow_patterns=["*.json", "*.txt", "model.safetensors"], etag_timeout=5))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise ValueError(
            f"weights of {name!r} cannot be fetched ({type(error).__name__}): download them with "
            f"`hf download {model}`, or name a local folder in scoring.weights"
        ) from error


def load_network(name: str, folder: Path) -> nn.Module:
    """The network of "clip" or "dinov2": normalised images in, float32 features [num, dim] out.

    Raises:
        ValueError: the files do not hold such a network.
    """
    return _ClipImages(folder) if name == "clip" else _DinoImages(folder)


def weights_file(folder: Path) -> Path:
    """The file whose hash names the network."""
    return folder / "model.safetensors"


def text_features(texts: list[str], folder: Path) -> Float[Tensor, "texts dim"]:
    """CLIP's projected vectors of texts, in the space of its image features; float32.

    Raises:
        ValueError: the folder holds no CLIP or no tokenizer.
    """
    from transformers import CLIPTokenizer

    whole = _load_whole("clip", folder).eval()
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"scoring.weights: {folder} has no tokenizer of CLIP ({error})") from error
    ids = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        return whole.text_projection(whole.text_model(**ids).pooler_output).float()
