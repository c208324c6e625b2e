"""Append-only logs: what is written is read in order, and whatever is done to a file afterwards is told."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from flowerti.artifacts.append_only import append_to_log, read_log
from flowerti.artifacts.run_directory import RunDirectory

FOLDER = "sweep/intent"


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    text: str
    numbers: list[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Other:
    words: str


def notes(run: RunDirectory, num: int = 3) -> list[Note]:
    written = [Note(text=f"note {i}", numbers=[i, 0.1]) for i in range(num)]
    for note in written:
        append_to_log(run, FOLDER, note)
    return written


def test_records_come_back_in_the_order_in_which_they_were_written(run: RunDirectory):
    assert read_log(run, FOLDER, Note) == []
    written = notes(run)
    entries = read_log(run, FOLDER, Note)
    assert [entry.record for entry in entries] == written
    assert [entry.sequence for entry in entries] == [1, 2, 3]


def test_a_hash_covers_all_fields_and_the_hash_before(run: RunDirectory):
    """Computed again from the files with nothing of the package: what a reader can do who has only them."""
    notes(run)
    previous = ""
    for number, name in enumerate(run.names(FOLDER), start=1):
        content = json.loads(run.read_bytes(name))
        text = json.dumps([number, previous, content["record"]], sort_keys=True)
        assert content["sha256"] == hashlib.sha256(text.encode()).hexdigest()
        assert name == f"{FOLDER}/{number:04d}.{content['sha256'][:16]}.json"
        previous = content["sha256"]


def test_earlier_files_are_never_touched(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    notes(run, 2)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in run.names(FOLDER)}
    append_to_log(run, FOLDER, Note(text="later", numbers=[]))
    assert len(run.names(FOLDER)) == 3
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before


def _edit(file: Path) -> None:
    file.write_text(file.read_text().replace("note 1", "note 7"))


def _edit_and_hash_again(file: Path) -> None:
    """Consistent in itself, but the next entry names the old hash."""
    content = json.loads(file.read_text())
    content["record"]["text"] = "note 7"
    fields = [content["sequence"], content["previous"], content["record"]]
    content["sha256"] = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    file.with_name(f"0002.{content['sha256'][:16]}.json").write_text(json.dumps(content))
    file.unlink()


def _add_a_field(file: Path) -> None:
    content = json.loads(file.read_text())
    content["record"]["more"] = 1
    file.write_text(json.dumps(content))


def _write_other(file: Path) -> None:
    file.write_text("{}")


@pytest.mark.parametrize(
    "harm",
    [
        _edit,
        _edit_and_hash_again,
        _add_a_field,
        _write_other,
        Path.unlink,
        lambda file: file.write_bytes(file.read_bytes()[:40]),
        lambda file: file.write_bytes(b"\xff\xfe"),
        lambda file: file.write_text("[]"),
        lambda file: file.rename(file.with_name("0009.0123456789abcdef.json")),
        lambda file: shutil.copy(file, file.with_name("0004.0123456789abcdef.json")),
        lambda file: shutil.copy(file, file.with_name(file.name.replace("0002", "0004"))),
        lambda file: file.with_name("notes.txt").write_text("mine"),
    ],
)
def test_a_log_that_was_tampered_with_is_told_and_not_written_to(tmp_path: Path, harm: Callable[[Path], object]):
    run = RunDirectory(str(tmp_path))
    notes(run)
    harm(tmp_path / run.names(FOLDER)[1])
    left = run.names(FOLDER)
    with pytest.raises(ValueError, match=r"sweep/intent/.*append-only.*another run directory$") as told:
        read_log(run, FOLDER, Note)
    assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match="append-only"):
        append_to_log(run, FOLDER, Note(text="after", numbers=[]))
    assert run.names(FOLDER) == left


def test_records_of_another_kind_are_told(run: RunDirectory):
    append_to_log(run, FOLDER, Other(words="x"))
    with pytest.raises(ValueError, match=r"0001\..*another version"):
        read_log(run, FOLDER, Note)


def test_entry_ten_thousand_comes_after_the_one_before(run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "flowerti.artifacts.layout.log_entry", lambda folder, number, sha256: f"{folder}/{number}.{sha256[:16]}.json"
    )
    written = notes(run, 11)
    assert [entry.record for entry in read_log(run, FOLDER, Note)] == written
