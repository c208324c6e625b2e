"""Muon: steps along the orthogonalised momentum of matrices, and AdamW for all other weights.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon); the length of a step is that of AdamW (Liu et al. 2025,
arXiv:2502.16982, eq. 4), so that both share one learning rate. A convolution's weights are a matrix with a row for each
output channel. This module does not know about losses.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowerti.classifier.batch_share import WHOLE_BATCH, BatchShare
from pretraining.optimization import computing_in

_MOMENTUM = 0.95
_SMALLEST_SIDE = 12
"""A matrix with fewer rows or columns is stepped by AdamW: there is little to orthogonalise."""


def orthogonalised(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """A matrix with the same singular vectors, whose singular values lie near 1: five Newton-Schulz iterations."""
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        # x <- a x + b (x x') x + c (x x')^2 x, with the coefficients of Jordan et al.
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Muon(torch.optim.AdamW):
    """An AdamW that steps along the orthogonalised momentum wherever a weight is a matrix of some size.

    Args:
        groups: parameter groups; only the matrices of those with a true "muon" are treated so.
        rate: learning rate of both kinds of steps.
        betas: coefficients of AdamW.
        part: this process's share: each process orthogonalises some of the matrices for all.
        bfloat16: whether matrices are orthogonalised in bfloat16, which changes the steps by little.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        rate: float,
        betas: tuple[float, float],
        part: BatchShare = WHOLE_BATCH,
        bfloat16: bool = False,
    ) -> None:
        super().__init__(groups, lr=rate, betas=betas)
        self._part, self._bfloat16 = part, bfloat16

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step; the gradients of matrices are used up by it."""
        chosen = [group for group in self.param_groups if group.get("muon")]
        matrices = [(weight, group) for group in chosen for weight in group["params"] if _is_stepped(weight)]
        for (weight, group), update in zip(matrices, self._updates([weight for weight, _ in matrices]), strict=True):
            # an update's entries have a root mean square of 0.2, as those of AdamW have about
            length = 0.2 * max(update.shape) ** 0.5
            weight.mul_(1.0 - group["lr"] * group["weight_decay"])
            weight.add_(update.reshape(weight.shape), alpha=-group["lr"] * length)
            weight.grad = None  # AdamW passes over weights without a gradient
        return super().step(closure)

    def _updates(self, weights: Sequence[nn.Parameter]) -> list[Tensor]:
        """The orthogonalised momentum of each weight; the others' share comes by the mean over processes."""
        updates = []
        for number, weight in enumerate(weights):
            ahead = self._momentum(weight).flatten(1)
            is_ours = number % self._part.size == self._part.rank
            update = self._orthogonalised(ahead) * self._part.size if is_ours else torch.zeros_like(ahead)
            updates.append(update)
        if updates:
            self._part.average(updates)
        return updates

    def _orthogonalised(self, matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
        with computing_in(self._bfloat16):
            return orthogonalised(matrix).to(matrix.dtype)

    def _momentum(self, weight: nn.Parameter) -> Tensor:
        """Nesterov's momentum of a weight's gradients: one step ahead."""
        state = self.state[weight]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(weight)
        momentum = state["exp_avg"].mul_(_MOMENTUM).add_(weight.grad)
        return weight.grad + _MOMENTUM * momentum


def _is_stepped(weight: nn.Parameter) -> bool:
    is_matrix = weight.ndim >= 2 and min(weight.shape[0], weight[0].numel()) >= _SMALLEST_SIDE
    return is_matrix and weight.grad is not None
