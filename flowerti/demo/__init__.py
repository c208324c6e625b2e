"""The embedded demo: a herbarium drawn by rule and a tiny text-to-image model that was trained on it."""
