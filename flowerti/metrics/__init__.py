"""Formulas on arrays: distances between sets of features, their tests and floors, and scores of predictions.

Everything runs in float64. No module here knows where features or predictions come from, or depends on files or torch.
"""
