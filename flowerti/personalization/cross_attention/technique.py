"""Custom Diffusion (Kumari et al. 2023, arXiv 2212.04488, section 3.1) as a technique: the K and V of cross-attention.

The words reach the U-Net through these matrices alone. The paper learns the token along with them; here the token comes
first and is frozen. This module does not know how steps are taken.
"""

from flowerti.config.experiment import CrossAttentionConfig
from flowerti.personalization.technique import Implementation
from flowerti.personalization.weights_technique import weights_technique

WEIGHTS = "cross_attention.safetensors"
"""A part of the U-Net's state dict."""


def learns(name: str) -> bool:
    """Whether a parameter of the U-Net projects keys or values of a cross-attention."""
    return name.endswith((".attn2.to_k.weight", ".attn2.to_v.weight"))


CROSS_ATTENTION: Implementation[CrossAttentionConfig] = weights_technique(
    learns, WEIGHTS, prior=lambda config: config.prior
)
