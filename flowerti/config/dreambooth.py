"""Settings of fine-tuning the whole U-Net for a class.

This module knows nothing about torch, Ray or how it is learnt.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from flowerti.config.prior import PriorConfig
from flowerti.config.schedule import ScheduleConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DreamboothConfig(ScheduleConfig):
    """DreamBooth (Ruiz et al. 2023): the whole U-Net learnt for one class on top of its token, with a general prior.

    It costs a U-Net a class: 3.4 GB in float32 for Stable Diffusion 1.5. While a class is learnt, memory and its
    checkpoint hold that four times (weights, AdamW's two moments, the best weights), and a step needs up to twice more.
    """

    section: ClassVar[str] = "dreambooth"

    num_steps: int = 800
    """Optimiser steps; too many give the training images back."""
    batch_size: int = 4
    """Latents of the class in a step, and as many of the prior."""
    learning_rate: float = 5e-6
    """Peak rate of AdamW; the first tenth warms up, then a cosine falls to a tenth of it. 5e-6 suits Stable Diffusion;
    small bases want 10 to 100 times as much."""
    weight_decay: float = 1e-2
    """Decay of AdamW."""
    eval_every_steps: int = 50
    """Steps between two deterministic evaluations; the weights of the best one are kept."""
    checkpoint_every_steps: int = 200
    """Steps between two checkpoints, each of four U-Nets; does not change any number."""
    prior: PriorConfig = field(default_factory=lambda: PriorConfig(noun="flower"))
    """Prior preservation; an empty noun turns it off."""

    def __post_init__(self) -> None:
        """Check ranges."""
        ScheduleConfig.__post_init__(self)  # not super(): see TextualInversionConfig
        self.prior.check(f"{self.section}.prior")
