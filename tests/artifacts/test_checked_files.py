"""Files are checked once in a process, again where they were written again, and damaged ones are told and left out."""

import pytest

from flowerti.artifacts.checked_files import taken_from
from flowerti.artifacts.checksums import BLANK
from flowerti.artifacts.damage import DamagedError, damage_told
from flowerti.artifacts.run_directory import RunDirectory


def first_letter(content: bytes) -> str:
    return content[:1].decode()


def write(run: RunDirectory, name: str, letter: str) -> None:
    run.write_checked(name, f"{letter} {BLANK}".encode())


def test_damaged_and_missing_ones_are_left_out_and_the_damaged_are_told_once(run: RunDirectory):
    for name in ("a/1", "a/2", "a/3"):
        write(run, name, name[-1])
    run.write_bytes("a/2", run.read_bytes("a/2")[1:])
    files = run.files("a")
    run.delete("a/3")
    told: list[str] = []
    with damage_told(told.append):
        for _ in range(2):
            assert taken_from(run, files, first_letter) == {"a/1": "1"}
    assert [text.split(" is damaged")[0] for text in told] == ["a/2"]


def test_each_is_read_once_and_again_where_it_was_written_again(run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    write(run, "a/1", "x")
    read: list[str] = []
    whole = RunDirectory.read_bytes
    monkeypatch.setattr(RunDirectory, "read_bytes", lambda self, name, *args: read.append(name) or whole(self, name))
    for _ in range(3):
        assert taken_from(run, run.files("a"), first_letter) == {"a/1": "x"}
    assert read == ["a/1"]
    write(run, "a/1", "longer")
    assert taken_from(run, run.files("a"), first_letter) == {"a/1": "l"}


def test_an_error_comes_out_of_a_worker_as_it_was():
    import pickle

    error = pickle.loads(pickle.dumps(DamagedError("a/b.json", "cut\noff")))
    assert str(error) == "a/b.json is damaged (cut off): it is not used, the run makes it anew"
    assert (type(error), error.problem) == (DamagedError, "cut off")
