"""Sizes and settings at which making a base takes seconds."""

from flowerti.progress import Progress
from pretraining.networks import NetworkSizes
from pretraining.recipe import AutoencoderConfig, PretrainConfig

SIZES = NetworkSizes(
    vae_widths=(16, 16, 16, 16),
    latent_channels=4,
    unet_widths=(16, 16, 16),
    text_width=16,
    text_layers=1,
    sample_px=32,
)
CONFIG = PretrainConfig(num_images=48, vae=AutoencoderConfig(steps=40, rate=3e-3), steps=12, batch=4, sizes=SIZES)
SILENT = Progress()
"""Reported to, and heard by nobody."""
CLASSES = ("azalea", "red rose", "rose")
"""Classes of the labelled images."""
