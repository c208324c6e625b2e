"""The noise schedule of a base: loaded as training takes it, if drawing can take it as well.

This module does not know the networks.
"""

from pathlib import Path
from typing import Any

from flowerti.base_checks.json_files import quoted, read_object, refused


def load_noise_schedule(path: Path) -> Any:
    """A DDPMScheduler with the schedule and prediction type of a base.

    Args:
        path: of scheduler_config.json.

    Raises:
        ValueError: there is no schedule, or the share of an image does not shrink with each step; names the file.
    """
    import torch
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

    config = read_object(path)
    try:
        schedule: Any = DDPMScheduler.from_config(config)
        DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++")
        shares = torch.as_tensor(schedule.alphas_cumprod)
        is_falling = bool((shares.diff() <= 0).all()) and bool(((shares >= 0) & (shares <= 1)).all())
    except Exception as error:
        # a config may break the library at any place
        raise refused(path, f"describes no noise schedule ({quoted(error)})") from error
    if len(shares) != schedule.config.num_train_timesteps or not is_falling:
        raise refused(path, "describes no noise schedule: trained_betas must be num_train_timesteps numbers in [0, 1]")
    return schedule
