"""Keys and weights of all shards of a run without opening them, as notes in one file of the run directory.

A shard that has no note, or was changed since, is opened once and noted. This module does not know how images are
drawn, nor what weights are for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float64

from flowerti.artifacts import layout
from flowerti.artifacts.file_notes import FileNotes, stamps_suffice
from flowerti.artifacts.layout import num_rows
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.data.shards import read_weights, shard_keys

_NUM_READERS = 16
"""Threads that open shards: a small request to an object store has a latency of tens of milliseconds."""


class ShardNotes:
    """What is known of the shards of a run."""

    def __init__(self, run: RunDirectory) -> None:
        """List the shards and read the notes."""
        self._run = run
        self._notes = FileNotes(run, layout.notes(layout.SYNTHETIC), layout.SYNTHETIC)

    def keys(self, files: Iterable[str]) -> dict[str, str | None]:
        """The key of each shard; None of one that is not there, or is damaged, which is told."""
        files = list(files)
        if not stamps_suffice(self._run):
            found = shard_keys(self._run, files)
            return {file: found.get(file) for file in files}
        lacking = [file for file in files if self._notes.has(file) and "key" not in (self._notes.get(file) or {})]
        for file, key in shard_keys(self._run, lacking).items():
            self._notes.add(file, (self._notes.get(file) or {}) | {"key": key})
        self._notes.save()
        return {file: (self._notes.get(file) or {}).get("key") for file in files}

    def weights(self, sets: Sequence[tuple[Sequence[str], int]]) -> list[Float64[np.ndarray, "_num"]]:
        """The curation weights of all images of some sets; 1 where an image has none.

        Args:
            sets: all shards of a set, in order, and the number of its images.

        Raises:
            ValueError: a shard that has no note is damaged; names it.
            OSError: a shard is not there.
        """
        self._complete([file for files, _ in sets for file in files], "weights", self._read_weights)
        return [
            np.concatenate([self._weights(file, num) for file, num in zip(files, num_rows(files, total), strict=True)])
            for files, total in sets
        ]

    def drawn(self, keys: Mapping[str, str]) -> None:
        """Note the keys of shards that were just drawn, none of whose images has a weight."""
        self._notes.add_written({file: {"key": key, "weights": None} for file, key in keys.items()})
        self._notes.save()

    def _weights(self, file: str, num_images: int) -> Float64[np.ndarray, "_num"]:
        found = self._read_weights(file) if (note := self._notes.get(file)) is None else note["weights"]
        return np.ones(num_images) if found is None else np.array(found, dtype=np.float64)

    def _read_weights(self, file: str) -> list[float] | None:
        found = read_weights(self._run, [file])
        return None if (found == 1).all() else found.tolist()

    def _complete(self, files: Sequence[str], field: str, read: Callable[[str], Any]) -> None:
        """Read a field of the shards that are there and whose notes lack it, and keep it."""
        lacking = [file for file in files if self._notes.has(file) and field not in (self._notes.get(file) or {})]
        with ThreadPoolExecutor(_NUM_READERS) as readers:
            for file, found in zip(lacking, readers.map(read, lacking), strict=True):
                self._notes.add(file, (self._notes.get(file) or {}) | {field: found})
        self._notes.save()
