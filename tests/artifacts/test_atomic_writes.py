"""Writes of a run directory are atomic: neither readers nor killed or concurrent writers leave half a file."""

import threading
from pathlib import Path

import pytest
from local_files import local_files

from flowerti.artifacts.run_directory import RunDirectory


def test_a_second_write_replaces_the_first(run: RunDirectory):
    run.write_bytes("a/x", b"a long first content")
    run.write_bytes("a/x", b"short")
    assert run.read_bytes("a/x") == b"short"
    assert run.names("a") == ["a/x"]


def test_a_write_that_fails_midway_leaves_the_old_content(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run.write_bytes("a/x", b"old")

    def half(_self: RunDirectory, path: str, content: bytes) -> None:
        Path(path).write_bytes(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunDirectory, "_put", half)
    for name in ("a/x", "a/new"):
        with pytest.raises(OSError, match="No space left"):
            run.write_bytes(name, b"the new content")
    assert run.read_bytes("a/x") == b"old"
    assert run.names("") == ["a/x"]
    assert len(local_files(tmp_path)) == 1


def test_an_interrupt_leaves_no_temporary_file(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(_self: RunDirectory, path: str, _content: bytes) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.write_bytes("a/x", b"content")
    assert local_files(tmp_path) == []


def test_a_write_over_a_folder_fails_and_leaves_nothing(run: RunDirectory, tmp_path: Path):
    run.write_bytes("a/x", b"inside")
    with pytest.raises(OSError, match="a"):
        run.write_bytes("a", b"over a folder")
    assert len(local_files(tmp_path)) == 1
    assert run.read_bytes("a/x") == b"inside"


def test_temporary_files_of_a_killed_writer_are_never_listed(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    run.write_bytes("a/x", b"1")
    for name in (".tmp-0-x", "a/.tmp-1-x", "a/b/.tmp-2-x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    assert run.names("") == ["a/x"]
    assert run.names("a") == ["a/x"]
    assert run.names("a/b") == []


def test_a_reader_never_sees_half_a_file(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    contents = {bytes([letter]) * 200_000 for letter in b"abcdef"}
    run.write_bytes("x", next(iter(contents)))
    done, seen, strange = threading.Event(), set(), []

    def read() -> None:
        while not done.is_set():
            content = run.read_bytes("x")
            seen.add(content[:1])
            if content not in contents:
                strange.append(len(content))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(30):
        for content in contents:
            run.write_bytes("x", content)
    done.set()
    for reader in readers:
        reader.join()
    assert strange == []
    assert len(seen) > 1, "the readers looked while the file changed"
    assert local_files(tmp_path) == ["x"]


def test_writers_of_the_same_name_do_not_disturb_each_other(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    contents = [bytes([i]) * 50_000 for i in range(8)]
    writers = [
        threading.Thread(target=lambda c=c: [run.write_bytes("deep/folder/x", c) for _ in range(10)]) for c in contents
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert run.read_bytes("deep/folder/x") in contents
    assert local_files(tmp_path) == ["deep/folder/x"]
