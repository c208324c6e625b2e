"""What the report calls sources and verdicts in plain words, in which order sources stand, and figures by file name.

Page and figures both take their words from here. This module knows nothing else.
"""

from collections.abc import Iterable

from flowerti.artifacts.identity import slug
from flowerti.tables.sources import SOURCES

REAL = "real"
"""What records have in place of a source for real images."""

VERDICT_NAMES = {
    "token": "the token is needed",
    "better_name_is_enough": "a better name is enough",
    "class_name_is_enough": "the class name is enough",
    "undecided": "undecided",
}


def source_label(source: str) -> str:
    """A source in plain words; "real" stands for real images."""
    return SOURCES[source].label if source in SOURCES else source


def source_order(sources: Iterable[str]) -> list[str]:
    """Sources in the order in which a reader meets them: real images, then the rows of the table, then others."""
    found = list(dict.fromkeys(sources))
    known = [REAL, *SOURCES.names]
    return [source for source in known if source in found] + [source for source in found if source not in known]


def strip_file(class_name: str) -> str:
    """The figure with the first images of each set of a class."""
    return f"grid_{slug(class_name)}.png"


def is_strip(file: str) -> bool:
    """Whether a figure is a `strip_file`."""
    return file.startswith("grid_")


def matrix_file(extractor: str, metric: str) -> str:
    """The figure with the distances of each set to all classes."""
    return f"matrix_{slug(extractor)}.{slug(metric)}.png"


def copies_file(class_name: str, source: str, extractor: str) -> str:
    """The figure with the images of a set that come nearest to training images."""
    return f"copies_{slug(class_name)}.{slug(source)}.{slug(extractor)}.png"


def shows_photographs(source: str) -> bool:
    """Whether its images are drawn from photographs, so that they may look like these."""
    return source in SOURCES and SOURCES[source].starts_from_images
