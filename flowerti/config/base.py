"""Settings of the frozen text-to-image model.

This module knows nothing about torch, Ray or how a stage works.
"""

from dataclasses import dataclass
from typing import Literal

from flowerti.config.checks import check_kinds, require


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseConfig:
    """The frozen text-to-image model."""

    path: str
    """Folder in Stable Diffusion's layout, a Hugging Face name, or "demo" for the embedded one."""
    revision: str = ""
    """Revision of a Hugging Face name; empty for the default one."""
    training_images: str = ""
    """File that lists the images which the base was trained on; empty for training_images.json in its folder."""
    allow_seen_held_out: bool = False
    """Let classes be weak ones though the base was trained on some of their validation or test images."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the frozen networks; learnt rows and losses stay float32. auto: bfloat16 on a GPU, else float32."""
    channels_last: bool = False
    """Lay the U-Net out with channels last while a token is learnt: for GPUs, slower on CPUs."""
    compile: bool = False
    """Compile the U-Net's repeated blocks, to learn tokens and to draw where nothing changes the U-Net from class to
    class: costs a minute for each shape of a batch, pays on GPUs."""

    def __post_init__(self) -> None:
        """Check that a model is named."""
        check_kinds(self, "base.")
        require(bool(self.path), "base.path", "is empty: name a folder or a Hugging Face model")
