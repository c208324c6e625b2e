"""Notes stand for files as they are, and for nothing else."""

import os
from pathlib import Path

import pytest

from flowerti.artifacts.file_notes import FileNotes
from flowerti.artifacts.run_directory import RunDirectory

NAME = "notes/a.json"


@pytest.fixture
def here(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(str(tmp_path))
    for name in ("a/x", "a/y", "b/x"):
        run.write_bytes(name, name.encode())
    return run


def noted(run: RunDirectory) -> dict[str, object]:
    notes = FileNotes(run, NAME, "a")
    return {file: notes.get(file) for file in ("a/x", "a/y", "b/x", "a/z")}


def test_notes_come_back_until_their_file_changes(here: RunDirectory, tmp_path: Path):
    notes = FileNotes(here, NAME, "a")
    assert (notes.has("a/x"), notes.has("a/z"), notes.has("b/x")) == (True, False, False)
    notes.add("a/x", {"key": "k"})
    notes.add("a/y", None)
    notes.add_written({"a/z": "never written"})
    notes.save()
    assert noted(here) == {"a/x": {"key": "k"}, "a/y": None, "b/x": None, "a/z": None}
    here.write_bytes("a/x", b"changed")
    assert noted(here)["a/x"] is None
    here.write_bytes("a/x", b"a/x")
    os.utime(tmp_path / "a" / "x", ns=(0, 0))
    assert noted(here)["a/x"] is None, "the same size at another time"


def test_what_others_wrote_meanwhile_is_noted_as_it_is_now(here: RunDirectory):
    notes = FileNotes(here, NAME, "a")
    notes.add("a/y", "old")
    here.write_bytes("a/z", b"new")
    here.write_bytes("a/y", b"changed by another")
    notes.add_written({"a/z": "new"})
    notes.save()
    assert noted(here) == {"a/x": None, "a/y": None, "b/x": None, "a/z": "new"}


def test_nothing_is_written_where_nothing_is_new(here: RunDirectory):
    FileNotes(here, NAME, "a").save()
    assert not here.exists(NAME)
    notes = FileNotes(here, NAME, "a")
    notes.add("a/x", 1)
    notes.save()
    before = here.files("notes")[NAME].mtime_ns
    FileNotes(here, NAME, "a").save()
    assert here.files("notes")[NAME].mtime_ns == before


def test_damaged_notes_are_told_and_are_none(here: RunDirectory, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    notes = FileNotes(here, NAME, "a")
    notes.add("a/x", "key one")
    notes.save()
    file = tmp_path / NAME
    file.write_bytes(file.read_bytes().replace(b"key one", b"key two"))
    assert noted(here)["a/x"] is None
    assert "notes/a.json is damaged" in caplog.text
