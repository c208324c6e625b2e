"""The words around a class: prompt templates that training and sampling share.

This module knows nothing about models, images or what classes are called.
"""

TEMPLATES: tuple[str, ...] = (
    "a photo of a {}",
    "a picture of a {}",
    "a close-up photo of a {}",
    "a bright photo of a {}",
    "a dark photo of a {}",
    "a cropped photo of a {}",
    "a good photo of a {}",
    "the photo of a {}",
    "a photo of one {}",
    "a photo of the cool {}",
    "a clean photo of a {}",
    "a rendition of a {}",
)
"""Each has one place for a noun phrase, as `str.format` takes it."""
