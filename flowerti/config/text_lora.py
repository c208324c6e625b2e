"""Settings of low-rank adapters of the text encoders.

This module knows nothing about torch, Ray or how an adapter is learnt.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from flowerti.config.checks import require
from flowerti.config.prior import PriorConfig
from flowerti.config.schedule import ScheduleConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TextLoraConfig(ScheduleConfig):
    """Low-rank adapter (Hu et al. 2021) of the text encoders for one class, learnt on top of its token."""

    section: ClassVar[str] = "text_lora"

    learning_rate: float = 1e-4
    """Peak rate of AdamW; the first tenth warms up, then a cosine falls to a tenth of it. 1e-4 suits Stable Diffusion;
    small bases want 10 to 100 times as much."""
    weight_decay: float = 1e-2
    """Decay of AdamW."""
    eval_every_steps: int = 50
    """Steps between two deterministic evaluations; the adapter of the best one is kept."""
    rank: int = 4
    """Rank of the matrices that are added to each projection of the text encoders' attention."""
    prior: PriorConfig = field(default_factory=PriorConfig)
    """Prior preservation; off unless its noun is given."""

    def __post_init__(self) -> None:
        """Check ranges."""
        ScheduleConfig.__post_init__(self)  # not super(): see TextualInversionConfig
        require(self.rank >= 1, f"{self.section}.rank", "must be at least 1")
        self.prior.check(f"{self.section}.prior")
