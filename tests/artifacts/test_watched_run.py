"""A watched run answers as the run directory does, one moment at a time, and reads what changed alone."""

import os
from pathlib import Path

import pytest

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.watched_run import WatchedRun


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = RunDirectory(str(tmp_path))
    for name in ("result.json", "sweep/trials/a.json", "sweep/table.json", "concepts/rose/x.json"):
        made.write_bytes(name, name.encode())
    return made


def test_it_answers_as_the_run_directory(run: RunDirectory):
    watched = WatchedRun(run.uri)
    for name in ("result.json", "sweep/table.json", "sweep", "none.json", "none/x.json"):
        assert watched.exists(name) == run.exists(name), name
    for folder in ("sweep", "sweep/trials", "concepts", "none", "swe"):
        assert watched.names(folder) == run.names(folder), folder
    assert watched.read_bytes("sweep/trials/a.json") == b"sweep/trials/a.json"
    assert watched.read_bytes("result.json", 3) == b"res"
    with pytest.raises(FileNotFoundError):
        watched.read_bytes("sweep/none.json")


def test_what_changes_is_noticed_at_the_next_look(run: RunDirectory):
    watched = WatchedRun(run.uri)
    assert watched.read_bytes("result.json") == b"result.json" and not watched.exists("sweep/trials/b.json")
    run.write_bytes("result.json", b"longer than before")
    run.write_bytes("sweep/trials/b.json", b"")
    assert watched.read_bytes("result.json") == b"result.json" and not watched.exists("sweep/trials/b.json")
    watched.look_again()
    assert watched.read_bytes("result.json") == b"longer than before" and watched.exists("sweep/trials/b.json")


def test_a_file_is_read_once_until_its_size_or_time_is_another(run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    read = RunDirectory.read_bytes

    def counted(self: RunDirectory, name: str, num_bytes: int | None = None) -> bytes:
        opened.append(name)
        return read(self, name, num_bytes)

    monkeypatch.setattr(RunDirectory, "read_bytes", counted)
    watched, names = WatchedRun(run.uri), ("result.json", "concepts/rose/x.json")
    for _ in range(3):
        assert [watched.read_bytes(name) for name in names] == [name.encode() for name in names]
        watched.look_again()
    assert opened == list(names)
    os.utime(run.path("result.json"), ns=(1, 1))
    assert [watched.read_bytes(name) for name in names] == [name.encode() for name in names]
    assert opened == [*names, "result.json"]
