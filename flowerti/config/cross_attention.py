"""Settings of learning the projections of cross-attention whole.

This module knows nothing about torch, Ray or how they are learnt.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from flowerti.config.prior import PriorConfig
from flowerti.config.schedule import ScheduleConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossAttentionConfig(ScheduleConfig):
    """Custom Diffusion (Kumari et al. 2023): keys and values of all cross-attention, learnt on top of a class's token.

    For Stable Diffusion 1.5 that is 19 million numbers, 77 MB a class in float32.
    """

    section: ClassVar[str] = "cross_attention"

    num_steps: int = 250
    """Optimiser steps."""
    learning_rate: float = 1e-5
    """Peak rate of AdamW; the first tenth warms up, then a cosine falls to a tenth of it. 1e-5 suits Stable Diffusion;
    small bases want 10 to 100 times as much."""
    weight_decay: float = 1e-2
    """Decay of AdamW."""
    prior: PriorConfig = field(default_factory=PriorConfig)
    """Prior preservation; off unless its noun is given."""

    def __post_init__(self) -> None:
        """Check ranges."""
        ScheduleConfig.__post_init__(self)  # not super(): see TextualInversionConfig
        self.prior.check(f"{self.section}.prior")
