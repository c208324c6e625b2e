"""Textual Inversion (Gal et al. 2022): embedding rows for a placeholder token of a class."""
