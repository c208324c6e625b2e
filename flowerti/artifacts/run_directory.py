"""The run directory: all files of a run, on a local disk or on S3 or GCS through pyarrow.

Writes are atomic: on a local disk a file is written under a temporary name and renamed, and an object store commits a
file when its upload completes. A JSON artifact stores the key of its inputs and its own checksum: loading it with
another key, or a damaged one, returns None. This module does not know what the artifacts mean.
"""

import dataclasses
import json
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from flowerti.artifacts import checksums
from flowerti.artifacts.damage import DamagedError, tell_damage
from flowerti.artifacts.masking import masked
from flowerti.artifacts.storage import is_denied, open_storage, reason_of

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

T = TypeVar("T")


_MAX_NAME_BYTES = 255
"""Limit of common file systems for one component of a path."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """A folder at a local path or an s3:// or gs:// address; holds only that address, so it is cheap to serialize."""

    uri: str

    def __post_init__(self) -> None:
        """Let ~ stand for the user's own folder, as a shell does where it sees one."""
        object.__setattr__(self, "uri", os.path.expanduser(self.uri))

    @property
    def filesystem(self) -> "FileSystem":
        """The pyarrow file system of this folder."""
        return open_storage(self.uri)[0]

    def path(self, name: str) -> str:
        """The file system's path of a name in this folder.

        Raises:
            ValueError: the name is invalid, too long, or refers to a place outside the folder.
        """
        parts = name.split("/")
        has_control = any(ord(character) < 32 or ord(character) == 127 for character in name)
        if name.startswith("/") or "" in parts[:-1] or ".." in parts or "." in parts or has_control:
            raise ValueError(f"{name!r} is not a name inside the run directory")
        if any(len(part.encode(errors="surrogatepass")) > _MAX_NAME_BYTES for part in parts):
            raise ValueError(f"{name[:40]!r}... is longer than the {_MAX_NAME_BYTES} bytes that a name may have")
        return f"{open_storage(self.uri)[1].rstrip('/')}/{name}"

    @property
    def is_local(self) -> bool:
        """Whether the folder lies on this machine's file system."""
        return "://" not in self.uri or self.uri.startswith("file://")

    def exists(self, name: str) -> bool:
        """Whether a file of that name exists; unfinished writes do not count."""
        from pyarrow.fs import FileType

        return self.filesystem.get_file_info(self.path(name)).type == FileType.File

    def names(self, folder: str) -> list[str]:
        """Names of all files below a folder, sorted; none where the folder is missing."""
        return sorted(self.files(folder))

    def files(self, folder: str) -> "dict[str, FileInfo]":
        """All files below a folder by their names, with size and time, from one listing; unfinished writes are none."""
        from pyarrow.fs import FileSelector, FileType

        root = self.path(folder)
        selector = FileSelector(root, recursive=True, allow_not_found=True)
        infos = [info for info in self.filesystem.get_file_info(selector) if info.type == FileType.File]
        found = {f"{folder}{info.path[len(root) :]}": info for info in infos}
        return {name: info for name, info in found.items() if "/.tmp-" not in f"/{name}"}

    def read_bytes(self, name: str, num_bytes: int | None = None) -> bytes:
        """The content of a file, or only its first bytes."""
        with self.filesystem.open_input_file(self.path(name)) as stream:
            return stream.read(num_bytes)

    def read_checked(self, name: str, *, may_lack: bool = False) -> bytes:
        """The content of a file that `write_checked` wrote; with `may_lack` also of one that states no checksum.

        Raises:
            FileNotFoundError: there is no such file.
            DamagedError: it does not hold what was written under this name.
        """
        content = self.read_bytes(name)
        _check(name, content, may_lack=may_lack)
        return content

    def write_checked(self, name: str, content: bytes) -> None:
        """Write a file atomically, with its checksum in the place of the blank that its content has."""
        self.write_bytes(name, checksums.with_checksum(name, content))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file atomically.

        Raises:
            ValueError: the name is not one of a file, or an object store does not permit the write.
            OSError: the disk or the store failed.
        """
        path = self.path(name)
        folder, _, base_name = path.rpartition("/")
        if not base_name:
            raise ValueError(f"{name!r} is not the name of a file")
        if not self.is_local:
            self._upload(name, path, content)
            return
        temporary = f"{folder}/.tmp-{uuid.uuid4().hex}-{base_name[:40]}"
        try:
            self.filesystem.create_dir(folder, recursive=True)
            self._put(temporary, content)
            self.filesystem.move(temporary, path)
        except OSError as error:
            _remove(temporary)
            if error.errno is None:
                raise
            # pyarrow's own error does not name the file where the disk is full
            raise OSError(error.errno, os.strerror(error.errno), path) from error
        except BaseException:
            _remove(temporary)
            raise

    def _upload(self, name: str, path: str, content: bytes) -> None:
        try:
            self._put(path, content)
        except OSError as error:
            scheme = self.uri.partition("://")[0]
            message = masked(f"{self.uri}/{name} cannot be written: {reason_of(scheme, error)}")
            raise (ValueError if is_denied(error) else OSError)(message) from error

    def _put(self, path: str, content: bytes) -> None:
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content)

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        if self.exists(name):
            self.filesystem.delete_file(self.path(name))

    def save(self, name: str, artifact: Any, key: str) -> None:
        """Write a dataclass as JSON together with the key of its inputs and its checksum."""
        fields = {"key": key, **dataclasses.asdict(artifact), checksums.FIELD: checksums.BLANK}
        self.write_checked(name, _json_bytes(fields))

    def write_json(self, name: str, content: Any) -> None:
        """Write values as JSON, atomically."""
        self.write_bytes(name, _json_bytes(content))

    def read_json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file that holds an object.

        Raises:
            ValueError: the file holds no JSON object; names it.
        """
        try:
            content = json.loads(self.read_bytes(name))
            if not isinstance(content, dict):
                raise ValueError("it holds no JSON object")
            return content
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.uri}/{name} is damaged ({error}): delete it, the run makes it again") from error

    def load(self, name: str, kind: type[T], key: str | None = None) -> T | None:
        """Read a dataclass that `save` wrote; None if it is missing, its key differs, or it is damaged, which is told.

        Without a key it is only looked at: then a file of an earlier version, which has no checksum, is taken as well.
        """
        import dacite

        try:
            content = self.read_bytes(name)
        except FileNotFoundError:
            return None
        try:
            _check(name, content, may_lack=key is None)
            record = json.loads(content)
            if key is not None and record["key"] != key:
                return None
            record.pop("key")
            record.pop(checksums.FIELD, None)
            return dacite.from_dict(kind, record, dacite.Config(strict=True, cast=[float]))
        except DamagedError as error:
            tell_damage(error)
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError, dacite.DaciteError) as error:
            tell_damage(DamagedError(name, f"or of another version: {error!r}"))
        return None


def _check(name: str, content: bytes, *, may_lack: bool = False) -> None:
    problem = (checksums.contradiction_in if may_lack else checksums.problem_of)(name, content)
    if problem:
        raise DamagedError(name, problem)


def _json_bytes(content: Any) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
