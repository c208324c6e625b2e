"""Low-rank adaptation (Hu et al. 2021) of the frozen text encoders for a class, on top of its learnt token."""
