"""DreamBooth (Ruiz et al. 2023, arXiv 2208.12242) as a technique: the tensor is a whole U-Net in one row.

The paper marks the class by a rare word before a noun. Here the class's learnt token takes that place, frozen: its
captions and prompts are those of every other technique, so a comparison with the token shows what the U-Net adds. The
text encoder stays as it is. The result costs as much as a U-Net: 4 bytes a number, 3.4 GB for Stable Diffusion 1.5;
training holds it four times (weights, two moments, best) and its gradient up to twice, a checkpoint four times. This
module does not know how steps are taken.
"""

from flowerti.config.experiment import DreamboothConfig
from flowerti.personalization.technique import Implementation
from flowerti.personalization.weights_technique import weights_technique

WEIGHTS = "dreambooth.safetensors"
"""The U-Net's whole state dict."""


def learns(_name: str) -> bool:
    """Every parameter of the U-Net is learnt."""
    return True


DREAMBOOTH: Implementation[DreamboothConfig] = weights_technique(learns, WEIGHTS, prior=lambda config: config.prior)
