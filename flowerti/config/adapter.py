"""Settings of the adapters that may be learnt on top of tokens.

This module knows nothing about torch, Ray, or how an adapter is learnt.
"""

from dataclasses import dataclass

from flowerti.config.checks import check_kinds, require


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """Low-rank adapter (Hu et al. 2021) of one class, learnt on top of its token; only where sampling asks for it."""

    rank: int = 4
    """Rank of the matrices that are added to each projection of the U-Net's attention."""
    num_steps: int = 400
    """Optimiser steps."""
    batch_size: int = 16
    """Latents in a step."""
    learning_rate: float = 1e-4
    """Peak rate of AdamW; the first tenth warms up, then a cosine falls to a tenth of it. 1e-4 suits Stable Diffusion;
    small bases want 10 to 100 times as much."""
    weight_decay: float = 1e-2
    """Decay of AdamW."""
    eval_every_steps: int = 50
    """Steps between two deterministic evaluations; the adapter of the best one is kept."""
    num_eval_latents: int = 64
    """Fixed (picture, flip, timestep, noise, caption) combinations in an evaluation."""
    checkpoint_every_steps: int = 50
    """Steps between two checkpoints; does not change any number."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_kinds(self, "sampling.adapter.")
        for name in ("rank", "num_steps", "batch_size", "eval_every_steps", "num_eval_latents"):
            require(getattr(self, name) >= 1, f"sampling.adapter.{name}", "must be at least 1")
        require(self.checkpoint_every_steps >= 1, "sampling.adapter.checkpoint_every_steps", "must be at least 1")
        require(self.learning_rate > 0, "sampling.adapter.learning_rate", "must be positive")
        require(self.weight_decay >= 0, "sampling.adapter.weight_decay", "must not be negative")
