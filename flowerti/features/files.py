"""Features on disk: safetensors files of consecutive images in the run directory, named by their set's key.

The name of a file contains the key of its inputs, its metadata its checksum: a file that is there and matches is valid.
This module does not know how features are computed or what they are used for.
"""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32
from safetensors.numpy import load, save

from flowerti.artifacts import checksums
from flowerti.artifacts.checked_files import taken_from
from flowerti.artifacts.damage import DamagedError
from flowerti.artifacts.run_directory import RunDirectory

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

_KEY_LENGTH = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFeatures:
    """Names of a set's feature files, in the order of its images; cheap to serialize."""

    files: tuple[str, ...]

    def read(self, run: RunDirectory) -> Float32[np.ndarray, "num views dim"]:
        """The features of all images.

        Raises:
            ValueError: a file is missing or damaged; names it.
        """
        return np.concatenate([_read(run, file) for file in self.files])

    def of_rows(self, rows: Sequence[int]) -> "StoredRows":
        """References to the features of some images, in the files that hold them; `rows` must rise."""
        begins = [0] if len(self.files) == 1 else [int(file.rsplit(".", 2)[1]) for file in self.files]
        own: dict[int, list[int]] = {}
        for row in rows:
            place = bisect.bisect_right(begins, row) - 1
            own.setdefault(place, []).append(row - begins[place])
        return StoredRows(files=tuple(self.files[place] for place in own), rows=tuple(map(tuple, own.values())))


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRows:
    """Names of the feature files that hold some images of a set, and their rows in each; cheap to serialize."""

    files: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]

    def read(self, run: RunDirectory) -> Float32[np.ndarray, "num views dim"]:
        """The features of these images.

        Raises:
            ValueError: there are none, or a file is missing or damaged; names it.
        """
        return np.concatenate([_read(run, file)[list(rows)] for file, rows in zip(self.files, self.rows, strict=True)])


def feature_file(folder: str, key: str, begin: int) -> str:
    """Name of the file that starts with image number `begin` of the set with this key."""
    return f"{folder}/{key[:_KEY_LENGTH]}.{begin:07d}.safetensors"


def write_features(run: RunDirectory, file: str, features: Float32[np.ndarray, "num views dim"]) -> None:
    """Write the features of consecutive images."""
    # one entry of metadata: several are written in no fixed order
    metadata = {checksums.FIELD: checksums.BLANK}
    run.write_checked(file, save({"features": np.ascontiguousarray(features)}, metadata))


def intact_features(run: RunDirectory, files: "Mapping[str, FileInfo]") -> set[str]:
    """Those of some feature files that hold what was written; the others are told."""
    return set(taken_from(run, files, len))


def _read(run: RunDirectory, file: str) -> Float32[np.ndarray, "num views dim"]:
    from safetensors import SafetensorError

    try:
        return load(run.read_checked(file))["features"]
    except (OSError, DamagedError, SafetensorError, KeyError) as error:
        raise ValueError(
            f"{run.uri}/{file} is missing or damaged ({error}): start the run again, it makes it anew"
        ) from error
