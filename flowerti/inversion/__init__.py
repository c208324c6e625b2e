"""Textual Inversion: from a class's training pictures to learnt rows, stored as a concept. It draws nothing."""
