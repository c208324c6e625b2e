"""Learning-rate schedule and early stopping.

This module does not know what is trained.
"""

from collections.abc import Sequence

import torch

from flowerti.config.experiment import ScheduleConfig

_WARM_UP_SHARE = 0.1
_FINAL_RATE_SHARE = 0.1
_MIN_SHARE_BEFORE_STOP = 0.25
_PLATEAU_SHARE = 0.02


def learning_rate_at(step: int, config: ScheduleConfig) -> float:
    """Learning rate of a step: linear warm-up over the first tenth, then a cosine decay to a tenth of the peak."""
    warm_up = max(1, round(config.num_steps * _WARM_UP_SHARE))
    if step < warm_up:
        return config.learning_rate * (step + 1) / warm_up
    # share = f + (1 - f) (1 + cos(pi p)) / 2, with p from 0 to 1 over the remaining steps
    # torch.cos, because math.cos differs in the last digit at some steps, which would change the results
    position = torch.tensor((step - warm_up) / max(1, config.num_steps - warm_up), dtype=torch.float64)
    share = _FINAL_RATE_SHARE + (1 - _FINAL_RATE_SHARE) * 0.5 * (1 + torch.cos(torch.pi * position).item())
    return config.learning_rate * share


def should_stop(step: int, losses: Sequence[float], config: ScheduleConfig) -> bool:
    """Whether the evaluation loss has converged; never before a quarter of all steps.

    As in DVAR (Voronov et al. 2023, arXiv 2302.04841) the criterion is a loss on fixed draws, relative to its history:
    training stops once the best loss decreased by less than 2 % of its total decrease over the last `patience_evals`
    evaluations. DVAR's own criterion, the variance of the last losses relative to that of all, would also stop a loss
    that decreases linearly.

    Args:
        step: steps taken.
        losses: all evaluations so far, the first one before any step.
        config: number of steps and of evaluations.
    """
    window = config.patience_evals
    if not window or step < _MIN_SHARE_BEFORE_STOP * config.num_steps or len(losses) <= window:
        return False
    latest_fall = min(losses[:-window]) - min(losses)
    return latest_fall <= _PLATEAU_SHARE * (losses[0] - min(losses))
