"""Features on disk: safetensors files of consecutive images in the run directory, named by their set's key.

Writes are atomic and the name of a file contains the key of its inputs, so an existing file is valid. This module does
not know how features are computed or what they are used for.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from safetensors.numpy import load, save

from flowerti.artifacts.run_directory import RunDirectory

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
    run.write_bytes(file, save({"features": np.ascontiguousarray(features)}))


def _read(run: RunDirectory, file: str) -> Float32[np.ndarray, "num views dim"]:
    from safetensors import SafetensorError

    try:
        return load(run.read_bytes(file))["features"]
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(
            f"{run.uri}/{file} is missing or damaged ({error}): delete it, the run makes it again"
        ) from error
