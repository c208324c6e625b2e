"""Synthetic images from the frozen base and what was learnt on it, in shards; it learns nothing."""
