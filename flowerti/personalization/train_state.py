"""How far the training of a class is: all that a resumed run needs.

This module does not know how a step is taken, nor how a state is stored.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from flowerti.artifacts.records import LossPoint


@dataclass(kw_only=True, slots=True)
class TrainState:
    """The one tensor that is learnt, AdamW's moments, the best so far, and the curve."""

    step: int
    """Steps taken."""
    learnt: Float[Tensor, "rows columns"]
    first_moment: Float[Tensor, "rows columns"]
    second_moment: Float[Tensor, "rows columns"]
    best: Float[Tensor, "rows columns"]
    """What the best evaluation saw."""
    start: Float[Tensor, "start_rows start_columns"]
    """What it was before the first step; without rows where nobody asks for it."""
    curve: list[LossPoint] = field(default_factory=list)
    seconds: float = 0.0
    """Time spent on it so far; in a shared batch, the batch's time."""

    @property
    def best_point(self) -> LossPoint:
        """The evaluation whose tensor is kept."""
        return min(self.curve, key=lambda point: point.loss)


def state_from(learnt: Float[Tensor, "rows columns"], *, keeps_start: bool = False) -> TrainState:
    """A training at its beginning, from a tensor and in its precision."""
    return TrainState(
        step=0,
        learnt=learnt,
        first_moment=torch.zeros_like(learnt),
        second_moment=torch.zeros_like(learnt),
        best=learnt.clone(),
        start=learnt.clone() if keeps_start else learnt[:0].clone(),
    )
