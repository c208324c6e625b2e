"""Settings that every technique has: steps, batches, rate, evaluations and checkpoints.

This module does not know about torch, Ray or what is trained.
"""

from dataclasses import dataclass
from typing import ClassVar

from flowerti.config.checks import check_kinds, require


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """How long and how fast one class is learnt; the config of a technique adds its own settings."""

    section: ClassVar[str]
    """What the technique is called in configs, on the command line and in errors."""

    num_steps: int = 400
    """Optimiser steps."""
    batch_size: int = 16
    """Latents in a step."""
    learning_rate: float = 1e-3
    """Peak rate of AdamW; the first tenth warms up, then a cosine falls to a tenth of it."""
    weight_decay: float = 0.0
    """Decay of AdamW."""
    eval_every_steps: int = 25
    """Steps between two deterministic evaluations; what the best one saw is kept."""
    num_eval_latents: int = 64
    """Fixed (image, flip, timestep, noise, caption) combinations in an evaluation."""
    patience_evals: int = 0
    """Stop once the loss no longer moves over so many evaluations, or none was better; 0 trains all steps."""
    checkpoint_every_steps: int = 50
    """Steps between two checkpoints; does not change any number."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, f"{self.section}.")
        for name in ("num_steps", "batch_size", "eval_every_steps", "num_eval_latents", "checkpoint_every_steps"):
            require(getattr(self, name) >= 1, f"{self.section}.{name}", "must be at least 1")
        require(self.patience_evals >= 0, f"{self.section}.patience_evals", "must not be negative")
        require(self.learning_rate > 0, f"{self.section}.learning_rate", "must be positive")
        require(self.weight_decay >= 0, f"{self.section}.weight_decay", "must not be negative")
