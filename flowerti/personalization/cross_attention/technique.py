"""Custom Diffusion (Kumari et al. 2023, arXiv 2212.04488, section 3.1) as a technique: the K and V of cross-attention.

The words reach the U-Net through these matrices alone. The paper learns the token along with them; here the token comes
first and is frozen. This module does not know how steps are taken.
"""

from pathlib import Path
from typing import Any

from safetensors import safe_open

from flowerti.config.experiment import CrossAttentionConfig
from flowerti.personalization.technique import Implementation
from flowerti.personalization.weights_technique import weights_technique

WEIGHTS = "cross_attention.safetensors"
"""A part of the U-Net's state dict."""
_ENDS = (".attn2.to_k.weight", ".attn2.to_v.weight")


def names_in(unet: Any) -> list[str]:
    """The key and value projections of every cross-attention, in the order of the U-Net."""
    return [name for name, _ in unet.named_parameters() if name.endswith(_ENDS)]


def _check(folder: Path, _config: CrossAttentionConfig) -> None:
    for file in (folder / "unet").glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            if any(name.endswith(_ENDS) for name in opened.keys()):
                return
    raise ValueError(f"cross_attention: the U-Net of {folder} has no cross-attention: use another technique")


CROSS_ATTENTION: Implementation[CrossAttentionConfig] = weights_technique(
    names_in, WEIGHTS, _check, lambda config: config.prior
)
