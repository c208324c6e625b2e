"""Low-rank adapters of the frozen U-Net, one for each class, on top of its token: a rival of the token alone."""
