"""Validation of sets of features, shared by all formulas.

This module does not know the formulas.
"""

import numpy as np
from jaxtyping import Float, Float64


def checked(name: str, features: Float[np.ndarray, "num dim"]) -> Float64[np.ndarray, "num dim"]:
    """The features in float64.

    Raises:
        ValueError: fewer than 2 images, NaN or infinity, or features that do not vary; names the argument.
    """
    if features.ndim != 2:
        raise ValueError(f"{name}: shape {features.shape}; pass features as [images, width]")
    if len(features) < 2:
        raise ValueError(f"{name}: {len(features)} image(s); a distance needs at least 2")
    if not np.isfinite(features).all():
        raise ValueError(f"{name}: holds NaN or infinity; check the feature extractor")
    if (features == features[0]).all():
        raise ValueError(f"{name}: all {len(features)} feature vectors are equal; nothing varies")
    return features.astype(np.float64)


def checked_sets(**sets: Float[np.ndarray, "_ _"]) -> list[Float64[np.ndarray, "_ _"]]:
    """Several sets in float64, in the order given.

    Raises:
        ValueError: as `checked`, or the widths differ.
    """
    found = [checked(name, features) for name, features in sets.items()]
    first = next(iter(sets))
    for name, features in zip(sets, found, strict=True):
        if features.shape[1] != found[0].shape[1]:
            raise ValueError(
                f"{name}: features of width {features.shape[1]}, but {first} has width "
                f"{found[0].shape[1]}; use one extractor for both"
            )
    return found


def unit_rows(name: str, features: Float64[np.ndarray, "num dim"]) -> Float64[np.ndarray, "num dim"]:
    """Normalise feature vectors to unit length.

    Raises:
        ValueError: a vector is zero and has no direction.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if (lengths == 0).any():
        raise ValueError(f"{name}: feature vector {int(lengths.argmin())} is zero; check the feature extractor")
    return features / lengths
