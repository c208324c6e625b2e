"""Lists a data set by its kind and reads an image by its address; dispatches to data sources.

An address is a path, begins with the prefix of a data source, or refers to a synthetic image. Workers read images by
address, so images never pass through the driver. This module knows no data source by name.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.data import DataConfig
from flowerti.config.data_sources import DATA_SOURCES
from flowerti.data.dataset import Dataset, check_classes, check_counts, without_classes
from flowerti.data.images import decode_image
from flowerti.data.shards import SYNTHETIC_PREFIX, read_synthetic
from flowerti.data.sources.files import FILES
from flowerti.data.sources.implementation import ImageReader, implementation_of


def list_records(config: DataConfig, seed: int, *, is_pooled: bool = False) -> Dataset:
    """List a data set without decoding an image.

    Args:
        config: where it is.
        seed: run seed.
        is_pooled: whether all images will be pooled and split anew, so that it does not matter which split has which.

    Raises:
        ValueError: a folder is missing or empty, or, unless they are pooled, there are no training images, or a class
            has none in a split; names it.
    """
    dataset = implementation_of(DATA_SOURCES[config.kind]).list_records(config, seed)
    dataset = without_classes(dataset, config.left_out_classes)
    if is_pooled:
        check_classes(dataset)
        return dataset
    if "train" in dataset.missing:
        raise ValueError(
            f"data.root: {config.root} has no training images, only others: name the folder or file of the training "
            "images train, or pool and cut all images anew with imbalance.resplit"
        )
    check_counts(dataset, f"data.root: {config.root}" if config.root else "data")
    return dataset


def reader_of(address: str) -> ImageReader:
    """The reader of the real image at an address: that of the data source with its prefix, or the one for files.

    Raises:
        ValueError: several data sources have a prefix of the address; names them.
    """
    rows = [row for row in DATA_SOURCES if row.prefix and address.startswith(row.prefix)]
    if len(rows) > 1:
        names = " and ".join(row.name for row in rows)
        raise ValueError(f"image {address} is claimed by the data sources {names}: give one of them another prefix")
    return implementation_of(rows[0]).images if rows else FILES


def read_image(
    address: str, size_px: int, run: RunDirectory | None = None
) -> UInt8[np.ndarray, "{size_px} {size_px} 3"]:
    """Read one image as RGB; an encoded one is rotated by its EXIF orientation, center-cropped and resized.

    Args:
        address: of a real or synthetic image.
        size_px: side of the square, in pixels.
        run: where synthetic images lie; real ones do not need it.

    Raises:
        ValueError: the image cannot be opened; names it.
    """
    if address.startswith(SYNTHETIC_PREFIX):
        if run is None:
            raise ValueError(f"image {address} lies in a run directory: name it")
        return read_synthetic(run, address, size_px)
    reader = reader_of(address)
    if reader.draw is not None:
        return reader.draw(address, size_px)
    return decode_image(reader.identify(address), size_px, address)


def read_images(
    addresses: Sequence[str], size_px: int, run: RunDirectory | None = None
) -> UInt8[np.ndarray, "num {size_px} {size_px} 3"]:
    """Read at least one image into one array, each as `read_image` does."""
    return np.stack([read_image(address, size_px, run) for address in addresses])
