"""The share of every batch that a training process handles, and the averaging of gradients over processes.

This module does not know about networks, or about communication between processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

Average = Callable[[Sequence[Tensor]], None]


def _leave(gradients: Sequence[Tensor]) -> None:
    """The average over a single process: gradients are left unchanged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchShare:
    """The rows of every batch that one of several processes handles.

    All processes sample the same batch and take their rows of it, so their number affects only rounding.
    """

    rank: int = 0
    size: int = 1
    """Number of processes."""
    average: Average = _leave
    """Replaces gradients by their mean over the processes, in place."""

    def cut(self, rows: Tensor) -> Tensor:
        """Every size-th row from `rank` on."""
        return rows[self.rank :: self.size]


WHOLE_BATCH = BatchShare()
