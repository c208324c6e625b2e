"""Settings of Textual Inversion.

This module knows nothing about torch, Ray or how a token is learnt.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from flowerti.config.checks import require
from flowerti.config.schedule import ScheduleConfig

Start = Literal["initializer_token", "class_name", "class_name_mean", "nearest", "random", "zero", "mean"]
"""Where learnt rows start: a word; the class name's own tokens, spread over the vectors or their mean; the vocabulary's
word with the lowest evaluation loss on the images; random; zeros; the mean of the whole vocabulary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextualInversionConfig(ScheduleConfig):
    """Textual Inversion (Gal et al. 2022) of one class."""

    section: ClassVar[str] = "textual_inversion"

    learning_rate: float = 5e-3
    """Peak rate of AdamW on the rows; the first tenth warms up, then a cosine falls to a tenth of it."""
    num_vectors: int = 1
    """Embedding rows of a token."""
    initializer_token: str = "flower"
    """Word whose embedding every row starts from; one token of the base's vocabulary."""
    start: Start = "initializer_token"
    """Where the rows start."""
    keep_norm: bool = False
    """Scale each row back to the length that it started with, after every step."""

    def __post_init__(self) -> None:
        """Check ranges."""
        # not super(): a dataclass with slots is a new class, which super() without arguments does not know
        ScheduleConfig.__post_init__(self)
        require(self.num_vectors >= 1, f"{self.section}.num_vectors", "must be at least 1")
        require(bool(self.initializer_token.strip()), f"{self.section}.initializer_token", "is empty")
        has_norm = not (self.keep_norm and self.start == "zero")
        require(has_norm, f"{self.section}.keep_norm", "must be off with start 'zero', which has no length to keep")
