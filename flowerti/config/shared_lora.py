"""Settings of one low-rank adapter for all weak classes.

This module knows nothing about torch, Ray or how an adapter is learnt.
"""

from dataclasses import dataclass
from typing import ClassVar

from flowerti.config.checks import require
from flowerti.config.schedule import ScheduleConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedLoraConfig(ScheduleConfig):
    """Low-rank adapter (Hu et al. 2021) of the U-Net for all weak classes together, learnt on top of their tokens."""

    section: ClassVar[str] = "shared_lora"

    num_steps: int = 1200
    """Optimiser steps: as many as the adapters of three classes take, because the classes share a batch."""
    learning_rate: float = 1e-4
    """Peak rate of AdamW; the first tenth warms up, then a cosine falls to a tenth of it. 1e-4 suits Stable Diffusion;
    small bases want 10 to 100 times as much."""
    weight_decay: float = 1e-2
    """Decay of AdamW."""
    eval_every_steps: int = 100
    """Steps between two deterministic evaluations; the adapter of the best one is kept."""
    num_eval_latents: int = 128
    """Fixed (image, flip, timestep, noise, caption) combinations in an evaluation, over all classes."""
    rank: int = 8
    """Rank of the matrices that are added to each projection of the U-Net's attention; it serves all classes."""

    def __post_init__(self) -> None:
        """Check ranges."""
        ScheduleConfig.__post_init__(self)  # not super(): see TextualInversionConfig
        require(self.rank >= 1, f"{self.section}.rank", "must be at least 1")
