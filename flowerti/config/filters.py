"""Settings of which drawn images the sweep trains with.

This module knows nothing about torch, Ray or how a filter works.
"""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

from flowerti.config.checks import check_kinds, require
from flowerti.tables.filters import FILTERS

_CLIP_FILES = (("config.json",), ("model.safetensors",), ("tokenizer.json", "vocab.json"))
"""What a folder with CLIP must hold: one of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FiltersConfig:
    """Which drawn images the sweep trains with, and with which weight."""

    keep: tuple[str, ...] = ()
    """Filters (rows of `tables.filters`); an image's weight is the product of theirs. Empty for every image, at 1."""
    share: float = 0.5
    """top_share and hard_share: the share of each pool that stays, in (0, 1)."""
    top_k: int = 10
    """top_k: among how many classes an image's own must be; fewer than there are classes."""
    num_folds: int = 5
    """Parts of the training images that the classifier is calibrated on in turn."""
    far_share: float = 0.1
    """no_outliers: the share of each pool that goes, in (0, 1)."""
    clip: str = ""
    """clip: a folder with a CLIP checkpoint, as transformers' save_pretrained writes it."""

    def __post_init__(self) -> None:
        """Check ranges and names."""
        check_kinds(self, "filters.")
        unknown = [name for name in self.keep if name not in FILTERS]
        known = ", ".join(FILTERS.names)
        require(not unknown, "filters.keep", f"names unknown {', '.join(unknown)}: choose among {known}")
        require(len(set(self.keep)) == len(self.keep), "filters.keep", "names a filter twice")
        require(0 < self.share < 1, "filters.share", "must lie in (0, 1)")
        require(0 < self.far_share < 1, "filters.far_share", "must lie in (0, 1)")
        both = "top_share" in self.keep and "hard_share" in self.keep
        require(not both, "filters.keep", "names top_share and hard_share, which keep opposite ends of a pool")
        require(self.top_k >= 1, "filters.top_k", "must be at least 1")
        require(self.num_folds >= 2, "filters.num_folds", "must be at least 2")
        has_clip = bool(self.clip) or not self.needs_clip
        require(has_clip, "filters.keep", "asks for CLIP: name a folder with a checkpoint of it in filters.clip")

    @property
    def needs_judge(self) -> bool:
        """Whether a filter asks for a classifier of real training images."""
        return any(FILTERS[name].needs_judge for name in self.keep)

    @property
    def needs_clip(self) -> bool:
        """Whether a filter asks for CLIP."""
        return any(FILTERS[name].needs_clip for name in self.keep)

    def check(self, num_classes: int) -> None:
        """Refuse what a data set or a disk cannot serve.

        Raises:
            ValueError: top_k would refuse nothing, or the folder of CLIP lacks a file; names the field.
        """
        if "top_k" in self.keep:
            problem = f"is {self.top_k}, and among {num_classes} classes that refuses nothing: lower it"
            require(self.top_k < num_classes, "filters.top_k", problem)
        for names in _CLIP_FILES if self.needs_clip else ():
            is_there = any((Path(self.clip) / name).is_file() for name in names)
            problem = f"{self.clip} has no {' or '.join(names)}: name a folder that save_pretrained wrote"
            require(is_there, "filters.clip", problem)

    def max_kept(self, num_drawn: int) -> int:
        """The most images of a pool of `num_drawn` that can be kept, whatever they show."""
        kept = [num_drawn]
        kept += [math.ceil(self.share * num_drawn)] if {"top_share", "hard_share"} & set(self.keep) else []
        kept += [num_drawn - math.floor(self.far_share * num_drawn)] if "no_outliers" in self.keep else []
        return min(kept)

    def num_to_draw(self, num_kept: int) -> int:
        """The fewest images of a pool of which `num_kept` can be kept."""
        return next(num for num in itertools.count(num_kept) if self.max_kept(num) >= num_kept)
