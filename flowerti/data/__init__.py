"""Labelled images: where they come from, their census, long tails made on purpose, and synthetic ones on disk."""
