"""Low-rank adaptation (Hu et al. 2021) of the frozen U-Net for a class, on top of its learnt token."""
