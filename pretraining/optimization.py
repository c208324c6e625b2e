"""Optimiser steps: learning-rate schedule, averaged gradients, clipping, and an exponential average of weights.

This module does not know about losses or the purpose of the networks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from flowerti.classifier.batch_share import BatchShare

REPORT_EVERY_STEPS = 50


def is_reported(step: int, num_steps: int) -> bool:
    """Whether the loss of a step is reported: every fiftieth and the last one."""
    return step % REPORT_EVERY_STEPS == 0 or step == num_steps - 1


def rate_at(step: int, num_steps: int, warmup: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine down to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(num_steps - warmup, 1)
    return 0.02 + 0.98 * 0.5 * (1.0 + float(np.cos(np.pi * progress)))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups; one with a `share` gets this share of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)


@contextmanager
def computing_in(bfloat16: bool) -> Iterator[None]:
    """Within the block, matrix products and convolutions are computed in bfloat16; or as ever, where that is not asked.

    Its products are half as wide as those in float32, so a CPU that has them does twice as many at a time. Attention is
    computed step by step then, since on a CPU torch's fused kernel takes three times as long backwards.
    """
    if not bfloat16:
        yield
        return
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        yield


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, weights: Sequence[nn.Parameter], part: BatchShare) -> None:
    """Take one step down the gradient of the whole batch, clipped to a norm of 1."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    part.average([weight.grad for weight in weights if weight.grad is not None])
    nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()


class AveragedWeights:
    """An exponential average of weights, which forgets the first steps faster than later ones."""

    def __init__(self, weights: Sequence[nn.Parameter], longest_decay: float) -> None:
        self._weights = list(weights)
        self.averages = [weight.detach().clone() for weight in weights]
        """One for each weight, in their order."""
        self._longest_decay = longest_decay

    def update(self, step: int) -> None:
        """Update the averages with the weights after a step; `step` counts from 0."""
        # average <- decay * average + (1 - decay) * weight, decay = min(longest, (1 + step) / (10 + step))
        decay = min(self._longest_decay, (1.0 + step) / (10.0 + step))
        torch._foreach_lerp_(self.averages, [w.detach() for w in self._weights], 1.0 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Swap averages and weights."""
        for weight, average in zip(self._weights, self.averages, strict=True):
            held = weight.clone()
            weight.copy_(average)
            average.copy_(held)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Use the averages as weights within the block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
