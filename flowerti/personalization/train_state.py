"""The state of a class's training: everything that is needed to resume it.

This module does not know how a step is taken, nor how a state is stored.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts.records import LossPoint


@dataclass(kw_only=True, slots=True)
class TrainState:
    """The trained tensor, AdamW's moments, the best tensor so far, and the evaluation losses."""

    step: int
    """Steps taken."""
    learnt: Float[Tensor, "rows columns"]
    first_moment: Float[Tensor, "rows columns"]
    second_moment: Float[Tensor, "rows columns"]
    best: Float[Tensor, "rows columns"]
    """The tensor with the lowest evaluation loss."""
    start: Float[Tensor, "start_rows start_columns"]
    """The tensor before the first step; without rows if it is not needed."""
    curve: list[LossPoint] = field(default_factory=list)
    seconds: float = 0.0
    """Training time so far; for a shared batch, that of the whole batch."""

    @property
    def best_point(self) -> LossPoint:
        """The evaluation with the lowest loss, whose tensor is kept."""
        return min(self.curve, key=lambda point: point.loss)


def state_from(learnt: Float[Tensor, "rows columns"], *, keeps_start: bool = False) -> TrainState:
    """The state before the first step, with moments in the precision of the tensor."""
    return TrainState(
        step=0,
        learnt=learnt,
        first_moment=torch.zeros_like(learnt),
        second_moment=torch.zeros_like(learnt),
        best=learnt.clone(),
        start=learnt.clone() if keeps_start else learnt[:0].clone(),
    )
