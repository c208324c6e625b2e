"""A base in a worker: loaded once, and tried with one denoising step before anything is learnt or drawn with it.

What is wrong with it is raised where it is first used: what a constructor raises reaches the driver as a lost worker,
which would be started again. This module does not know about Ray, nor what the base is used for.
"""

from collections.abc import Callable
from typing import Any

import torch

from flowerti.base_files import UnusableBaseError
from flowerti.diffusion import Base
from flowerti.personalization.denoising import predict
from flowerti.personalization.encoding import encode_text, tokenise

_NUM_STEPS = 10
"""Of the ladder whose first step is tried."""


class LoadedBase:
    """The base of a worker."""

    def __init__(self, load: Callable[[], Base]) -> None:
        """Load the base; a ValueError of it is kept until the base is used."""
        self._is_tried, self._problem = False, ""
        try:
            self._base = load()
        except ValueError as error:
            self._problem = str(error)

    @property
    def base(self) -> Base:
        """The base, which has been tried.

        Raises:
            UnusableBaseError: as `require`.
        """
        self.require()
        return self._base

    def require(self) -> None:
        """Try the base where that was not done.

        Raises:
            UnusableBaseError: it could not be loaded, or a step of it is not finite.
        """
        if not self._problem and not self._is_tried:
            self._problem, self._is_tried = problem_of_first_step(self._base), True
        if self._problem:
            raise UnusableBaseError(self._problem)


@torch.no_grad()
def problem_of_first_step(base: Base) -> str:
    """What is not finite when one latent is denoised by one step under an empty prompt; empty for nothing."""
    from diffusers import DPMSolverMultistepScheduler

    scheduler: Any = DPMSolverMultistepScheduler.from_config(base.scheduler_config, algorithm_type="dpmsolver++")
    scheduler.set_timesteps(_NUM_STEPS, device=base.device)
    side, timestep = base.unet.config.sample_size, scheduler.timesteps[0]
    noise = torch.randn((1, base.unet.config.in_channels, side, side), generator=torch.Generator().manual_seed(0))
    latent = noise.to(base.device, base.dtype)
    states = encode_text(base, tokenise(base, [""]))
    # compiling it for a batch of one would take a minute
    with torch.compiler.set_stance("force_eager"):
        predicted = predict(base, latent, timestep, states)
    found = {
        "the text encoder's output": states.hidden,
        "the U-Net's output": predicted,
        "the latent after one denoising step": scheduler.step(predicted, timestep, latent).prev_sample,
    }
    precision = str(base.dtype).removeprefix("torch.")
    for what, values in found.items():
        if not bool(torch.isfinite(values).all()):
            return f"base.dtype: {what} is not finite in {precision}: use float32, or another base (base.path)"
    return ""
