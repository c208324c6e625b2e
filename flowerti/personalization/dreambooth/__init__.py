"""DreamBooth (Ruiz et al. 2023): the whole U-Net fine-tuned for a class on top of its token, with a general prior."""
