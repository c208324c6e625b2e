"""Keys and values of the U-Net's cross-attention, learnt whole for a class on top of its token (Kumari et al. 2023)."""
