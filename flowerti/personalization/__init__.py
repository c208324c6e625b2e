"""Textual Inversion: from a class's training images to learnt rows, stored as a concept. It draws nothing."""
