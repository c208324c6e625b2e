"""A run directory that is looked at again and again: a file is read again only after it changed.

Between two calls of `look_again` its answers are those of one moment: a folder is listed once, and so a look costs a
request for each folder and each file that lies in none, and one for each file that is new or changed. This module does
not know which files a run has.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowerti.artifacts.run_directory import RunDirectory

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo


@dataclass(frozen=True, slots=True)
class WatchedRun(RunDirectory):
    """Answers as a `RunDirectory` does, for reading alone; what is written through it is noticed at the next look."""

    _listed: "dict[str, dict[str, FileInfo]]" = field(default_factory=dict, init=False, repr=False, compare=False)
    """Files of each folder at the top that was asked for in this look, and each file beside them by itself."""
    _read: "dict[tuple[str, int | None], tuple[tuple[int, int], bytes]]" = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Size and time of each file that was read, or of its first bytes, with what it held then."""

    def look_again(self) -> None:
        """Notice what changed since."""
        self._listed.clear()

    def exists(self, name: str) -> bool:
        """Whether a file of that name exists; unfinished writes do not count."""
        return self._info(name) is not None

    def files(self, folder: str) -> "dict[str, FileInfo]":
        """All files below a folder by their names."""
        listed = self._folder(folder.partition("/")[0])
        return {name: info for name, info in listed.items() if name.startswith(f"{folder}/")}

    def read_bytes(self, name: str, num_bytes: int | None = None) -> bytes:
        """The content of a file, or only its first bytes."""
        info = self._info(name)
        if info is None:
            raise FileNotFoundError(f"{self.uri}/{name}")
        state = (info.size or 0, info.mtime_ns or 0)
        known = self._read.get((name, num_bytes))
        if known is None or known[0] != state:
            known = (state, RunDirectory.read_bytes(self, name, num_bytes))
            self._read[name, num_bytes] = known
        return known[1]

    def _info(self, name: str) -> "FileInfo | None":
        top, _, below = name.partition("/")
        if not below and top not in self._listed:
            info = self.filesystem.get_file_info(self.path(name))
            self._listed[top] = {name: info} if info.is_file else {}
        return self._folder(top).get(name)

    def _folder(self, top: str) -> "dict[str, FileInfo]":
        """What lies in a folder at the top."""
        if top not in self._listed:
            self._listed[top] = RunDirectory.files(self, top)
        return self._listed[top]
