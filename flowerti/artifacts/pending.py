"""Artifacts that are made together and saved together, once it is clear that nothing about them is refused.

This module does not know what the artifacts mean.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from flowerti.artifacts.run_directory import RunDirectory

T = TypeVar("T")


class PendingArtifacts:
    """Takes artifacts from a run directory, or makes what it does not hold and keeps it until `save`."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._made: list[tuple[str, Any, str]] = []

    def get(self, name: str, kind: type[T], key: str, make: Callable[[], T]) -> T:
        """The artifact of that name and key, made where the run directory has none."""
        found = self._run.load(name, kind, key)
        if found is None:
            found = make()
            self.put(name, found, key)
        return found

    def find(self, name: str, kind: type[T], key: str) -> T | None:
        """The artifact of that name and key, as the run directory has it."""
        return self._run.load(name, kind, key)

    def put(self, name: str, artifact: Any, key: str) -> None:
        """Keep an artifact until `save`."""
        self._made.append((name, artifact, key))

    def save(self) -> None:
        """Write what was made, in the order in which it was."""
        for name, artifact, key in self._made:
            self._run.save(name, artifact, key)
        self._made.clear()
