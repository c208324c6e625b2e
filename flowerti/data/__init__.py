"""Labelled images: where they come from, their census, imbalance made on purpose, and synthetic ones on disk."""
