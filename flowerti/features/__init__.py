"""Pictures to features: frozen backbones, what they make of a picture, and features on disk."""
