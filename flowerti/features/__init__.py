"""Images to features: frozen backbones, what they make of an image, and features on disk."""
