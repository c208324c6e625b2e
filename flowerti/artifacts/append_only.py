"""Append-only logs of a run: numbered files, each with a hash over its content and over the hash of the one before.

An entry that was changed, renamed, or removed from the middle is told when the log is read. What was cut off at the end
cannot be seen from the log alone; whoever writes two logs can let each name the other's last entry. This module does
not know what a record means.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.run_directory import RunDirectory

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry(Generic[T]):
    """One record of a log."""

    sequence: int
    """Its number, from 1 on."""
    sha256: str
    """Hash of its number, of the hash of the entry before, and of all fields of the record."""
    record: T


def read_log(run: RunDirectory, folder: str, kind: type[T]) -> list[Entry[T]]:
    """All entries of a log, in order; none where it was never written.

    Raises:
        ValueError: a file was changed, renamed, added or removed, or holds no record of this kind; names it.
    """
    entries: list[Entry[T]] = []
    # by length first, so that entry 10000 comes after entry 9999
    for name in sorted(run.names(folder), key=lambda name: (len(name), name)):
        entries.append(_read_entry(run, folder, name, kind, entries))
    return entries


def append_to_log(run: RunDirectory, folder: str, record: Any) -> None:
    """Write a dataclass as the next entry of a log; a log has one writer at a time, the driver of the run.

    Raises:
        ValueError: as `read_log`.
    """
    entries = read_log(run, folder, type(record))
    previous = entries[-1].sha256 if entries else ""
    sequence, fields = len(entries) + 1, dataclasses.asdict(record)
    sha256 = key_of(sequence, previous, fields)
    content = {"sequence": sequence, "previous": previous, "record": fields, "sha256": sha256}
    name = layout.log_entry(folder, sequence, sha256)
    run.write_bytes(name, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def _read_entry(run: RunDirectory, folder: str, name: str, kind: type[T], before: Sequence[Entry[T]]) -> Entry[T]:
    import dacite

    try:
        content = json.loads(run.read_bytes(name))
        sequence, previous, fields, sha256 = (content[key] for key in ("sequence", "previous", "record", "sha256"))
        if key_of(sequence, previous, fields) != sha256:
            raise ValueError("its content does not have the hash that it states")
        expected = (len(before) + 1, before[-1].sha256 if before else "")
        if (sequence, previous) != expected or name != layout.log_entry(folder, sequence, sha256):
            raise ValueError(f"it is not entry {len(before) + 1}: one was removed, added or renamed")
        record = dacite.from_dict(kind, fields, dacite.Config(strict=True, cast=[float]))
    except (ValueError, KeyError, TypeError, RecursionError, dacite.DaciteError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{run.uri}/{name}: this log is append-only, and the file was changed after it was written, or is of "
            f"another version ({reason}): restore it, or choose another run directory"
        ) from error
    return Entry(sequence=sequence, sha256=sha256, record=record)
