"""The words around a class: prompt templates that training and sampling use.

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

CONTEXTS: tuple[str, ...] = (
    "a photo of a {}",
    "a photo of a {} in bright sunlight",
    "a photo of a {} in the shade",
    "a photo of a {} on a cloudy day",
    "a photo of a {} at dusk",
    "a photo of a {} outdoors",
    "a photo of a {} indoors",
    "a photo of a {} in front of a plain background",
    "a photo of a {} in front of a blurred background",
    "a close-up photo of a {}",
    "a photo of a {} from a distance",
    "a photo of a {} seen from the side",
    "a photo of a {} with others around it",
)
"""Circumstances of a photograph that fit any class: light, place, background, distance."""
