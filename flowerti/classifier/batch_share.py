"""Which share of every batch a training process works on, and how gradients become the whole batch's.

It knows nothing about networks, or about how processes talk to each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

Average = Callable[[Sequence[Tensor]], None]


def _leave(gradients: Sequence[Tensor]) -> None:
    """What averaging is where one process does all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchShare:
    """The rows of every batch that one of several processes works on.

    All processes draw the same whole batch and cut their rows out of it, so their number changes the last digits only.
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
