"""The interface of a data source's code, and its import from a row in `config.data_sources`.

This module does not know any data source.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from flowerti.config.data import DataConfig
from flowerti.config.data_sources import DataSource
from flowerti.data.dataset import Dataset
from flowerti.tables.sources import ClassNames

Draw = Callable[[str, int], UInt8[np.ndarray, "height width 3"]]


def _no_names() -> Mapping[str, ClassNames]:
    return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageReader:
    """Reads the image at an address; every function raises a `ValueError` that names an unreadable address.

    Workers on other machines call these functions, so an address must be self-contained.
    """

    identify: Callable[[str], bytes]
    """The bytes that identify an image, which the census hashes: the encoded image itself, or of a drawn one whatever
    fixes its pixels, such as its address and a hash of the rules."""
    stamp_of: Callable[[str], int | str]
    """What changes whenever the image has changed, without opening it: the size and times of its file, or of a drawn
    image what identifies it. Never raises: the census does, and names the image."""
    draw: Draw | None = None
    """Of data sources that draw: the image at an address as a square of a given side in pixels. None where `identify`
    gives an encoded image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Implementation:
    """The code of a data source."""

    list_records: Callable[[DataConfig, int], Dataset]
    """All images by the data's settings and the run seed, without opening one; raises a `ValueError` that begins with
    "data." where something is missing. `Dataset.missing` names splits that it does not have, `Dataset.notes` what a
    person should know about the listing."""
    images: ImageReader
    """Reader of its images."""
    known_names: Callable[[], Mapping[str, ClassNames]] = _no_names
    """Other names of its classes, by class name; classes without other names may be omitted."""


def implementation_of(row: DataSource) -> Implementation:
    """Import the code of a data source.

    Raises:
        ValueError: it cannot be imported, is not an `Implementation`, or draws where its row says that it does not, or
            the other way round; names the row.
    """
    module, _, name = row.implementation.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"data source {row.name!r}: {row.implementation!r} cannot be imported ({error})") from error
    if not isinstance(found, Implementation):
        raise ValueError(f"data source {row.name!r}: {row.implementation!r} must be an Implementation, not {found!r}")
    if row.is_drawn != (found.images.draw is not None):
        raise ValueError(f"data source {row.name!r}: is_drawn must say whether its images have a `draw`")
    return found
