"""What reading many files of a folder told, kept in one file, so that a later start need not open them again.

A note counts only as long as a listing of the folder shows the file with the size and the time of modification that it
had; what is not noted, or has changed since, is read again. So the notes may be deleted at any time: nothing but time
is lost. This module does not know what is noted.
"""

import json
from collections.abc import Mapping
from typing import Any

from flowerti.artifacts import checksums
from flowerti.artifacts.damage import DamagedError, tell_damage
from flowerti.artifacts.run_directory import RunDirectory

_Stamp = tuple[int, int]
"""Size in bytes, and time of modification in nanoseconds."""


def stamps_suffice(run: RunDirectory) -> bool:
    """Whether a file of the same size and time is the same file.

    A disk may rot under both, which a store of objects finds by itself; and reading costs little on a disk.
    """
    return not run.is_local


class FileNotes:
    """The notes on the files of one folder; it is listed once, when they are opened."""

    def __init__(self, run: RunDirectory, name: str, folder: str) -> None:
        """Read the notes that are kept under a name, and list the folder; damaged notes are told, and are none."""
        self._run, self._name, self._folder = run, name, folder
        self._stamps = self._list()
        content = self._read()
        self._notes: dict[str, Any] = {
            file: note
            for file, (size, modified_ns, note) in content.get("files", {}).items()
            if self._stamps.get(file) == (size, modified_ns)
        }
        self._is_changed = len(self._notes) < len(content.get("files", {}))

    def has(self, file: str) -> bool:
        """Whether the folder had the file when it was listed."""
        return file in self._stamps

    def get(self, file: str) -> Any | None:
        """The note on a file; None where there is none, or the file was changed since."""
        return self._notes.get(file)

    def add(self, file: str, note: Any) -> None:
        """Note what was read of a file that is listed."""
        self._notes[file] = note
        self._is_changed = True

    def add_written(self, notes: Mapping[str, Any]) -> None:
        """Note what others have just written; lists the folder anew. A file that is not there gets no note."""
        if notes:
            stamps = self._list()
            self._stamps |= {file: stamps[file] for file in notes if file in stamps}
            self._notes |= notes
            self._is_changed = True

    def save(self) -> None:
        """Keep the notes, where one is new or was dropped."""
        if self._is_changed:
            kept = {file: [*self._stamps[file], note] for file, note in self._notes.items() if file in self._stamps}
            fields = {"files": kept, checksums.FIELD: checksums.BLANK}
            self._run.write_checked(self._name, (json.dumps(fields, allow_nan=False) + "\n").encode())
            self._is_changed = False

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(self._run.read_checked(self._name))
        except FileNotFoundError:
            return {}
        except DamagedError as error:
            tell_damage(error)
            return {}

    def _list(self) -> dict[str, _Stamp]:
        return {file: (info.size or 0, info.mtime_ns or 0) for file, info in self._run.files(self._folder).items()}
