"""Checks files of a run directory against their checksums, each version of a file once in a process.

Threads share the reading. This module does not know what the files hold.
"""

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from flowerti.artifacts.damage import DamagedError, tell_damage
from flowerti.artifacts.run_directory import RunDirectory

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

T = TypeVar("T")
_NUM_READERS = 16
"""A small request to an object store has a latency of tens of milliseconds."""


def taken_from(run: RunDirectory, files: "Mapping[str, FileInfo]", take: Callable[[bytes], T]) -> dict[str, T]:
    """What is taken from the content of each file; damaged ones are told and left out.

    Args:
        run: the run directory.
        files: by name, as `RunDirectory.files` lists them.
        take: a function of a module, of which what it returned is remembered.
    """
    with ThreadPoolExecutor(_NUM_READERS) as readers:
        states = [(file.mtime_ns or 0, file.size) for file in files.values()]
        found = list(readers.map(lambda name, state: _taken(run, name, state, take), files, states))
    return {name: one[0] for name, one in zip(files, found, strict=True) if one is not None}


@functools.lru_cache(maxsize=1 << 17)
def _taken(run: RunDirectory, name: str, _state: tuple[int, int], take: Callable[[bytes], T]) -> tuple[T] | None:
    try:
        return (take(run.read_checked(name)),)
    except DamagedError as error:
        tell_damage(error)
    except FileNotFoundError:
        pass  # deleted since it was listed
    return None
