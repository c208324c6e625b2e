"""DreamBooth (Ruiz et al. 2023, arXiv 2208.12242) as a technique: the tensor is a whole U-Net in one row.

The paper marks the class by a rare word before a noun. Here the class's learnt token takes that place, frozen: its
captions and prompts are those of every other technique, so a comparison with the token shows what the U-Net adds. The
text encoder stays as it is. The result costs as much as a U-Net: 4 bytes a number, 3.4 GB for Stable Diffusion 1.5;
training holds it four times (weights, two moments, best) and its gradient up to twice, a checkpoint four times. This
module does not know how steps are taken.
"""

from pathlib import Path
from typing import Any

from flowerti.config.experiment import DreamboothConfig
from flowerti.personalization.technique import Implementation
from flowerti.personalization.weights_technique import weights_technique

WEIGHTS = "dreambooth.safetensors"
"""The U-Net's whole state dict."""


def names_in(unet: Any) -> list[str]:
    """All parameters of the U-Net, in its order."""
    return [name for name, _ in unet.named_parameters()]


def _check(_folder: Path, _config: DreamboothConfig) -> None:
    """Every base has a U-Net."""


DREAMBOOTH: Implementation[DreamboothConfig] = weights_technique(names_in, WEIGHTS, _check, lambda config: config.prior)
